/**
 * Three workers share twelve partitions; one is killed midway, and another one joins.
 */
import { Duration, Effect, Stdio, Terminal } from "effect"
import type { Scope } from "effect"
import { AmqpPartitions, AmqpPublisher } from "effect-amqp"
import type { Board } from "./partitions/Board.ts"
import type * as Crew from "./partitions/Crew.ts"
import * as Worker from "./partitions/Worker.ts"

/** How much is published, and how fast. */
export interface Settings {
  readonly count: number
  readonly keys: number
  /** The pause between two messages. */
  readonly interval: Duration.Duration
}

/** Shows the board: drawn again and again on a terminal, and a line for each change elsewhere. */
const show = Effect.fnUntraced(function*(board: Board) {
  const terminal = yield* Terminal.Terminal
  const isTerminal = yield* Effect.flatMap(Stdio.Stdio, ({ stdoutIsTerminal }) => stdoutIsTerminal)
  let height = 0
  let last = ""
  const write = (text: string) => Effect.ignore(terminal.display(text))
  const erase = Effect.suspend(() => write(height === 0 ? "" : `\u001b[${height}A\u001b[J`))
  const draw = Effect.suspend(() => {
    const rows = board.table()
    height = rows.length
    return write(`${rows.join("\n")}\n`)
  })
  const refresh = Effect.suspend(() => {
    if (isTerminal) return Effect.andThen(erase, draw)
    const owners = board.owners()
    if (owners === last) return Effect.void
    last = owners
    return write(`${owners}\n`)
  })
  return {
    refresh,
    line: (text: string) =>
      isTerminal ? Effect.andThen(Effect.andThen(erase, write(`${text}\n`)), draw) : write(`${text}\n`)
  }
})

/** Runs the demo with workers that `hire` starts; gives the counts of the end. */
export const run = Effect.fnUntraced(function*<E, R>(
  settings: Settings,
  board: Board,
  hire: (name: string) => Effect.Effect<Crew.Hired, E, R | Scope.Scope>
) {
  const { count, interval, keys } = settings
  const { line, refresh } = yield* show(board)
  const publisher = yield* AmqpPublisher.AmqpPublisher
  yield* AmqpPartitions.declare(Worker.events)
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep("250 millis"), refresh)))

  const join = (name: string) =>
    Effect.tap(
      Effect.tap(hire(name), () => Effect.sync(() => board.joined(name))),
      () => line(`${name} joins`)
    )
  yield* join("ada")
  const victim = yield* join("bob")
  yield* join("cleo")

  const numbers = new Map<string, number>()
  // So many at once that a fast pace costs no timer for each.
  const batch = Math.max(1, Math.ceil(20 / Math.max(1, Duration.toMillis(interval))))
  const publish = (size: number) => {
    const messages = Array.from({ length: size }, () => {
      const key = `key-${board.published++ % keys}`
      const number = numbers.get(key) ?? 0
      numbers.set(key, number + 1)
      return AmqpPartitions.message(Worker.events, key, { messageId: `${key}/${number}`, body: { key, number } })
    })
    return Effect.andThen(publisher.publishAll(messages), Effect.sleep(Duration.times(interval, size)))
  }
  const publishUpTo = (target: number) =>
    Effect.whileLoop({
      while: () => board.published < target,
      body: () => publish(Math.min(batch, target - board.published)),
      step: () => {}
    })

  yield* publishUpTo(Math.floor(count / 3))
  yield* victim.kill
  board.gone(victim.name)
  yield* line(`${victim.name} is killed`)
  yield* publishUpTo(Math.floor(2 * count / 3))
  yield* join("dora")
  yield* publishUpTo(count)
  yield* Effect.sleep("100 millis").pipe(
    Effect.repeat({ until: () => board.handled === board.published }),
    Effect.timeoutOption("1 minute")
  )
  yield* refresh
  return board.counts()
})

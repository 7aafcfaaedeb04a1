/**
 * Runs the programs of a page as processes that share one embedded broker: in the order of the page, the next one when
 * the one before has ended or consumes.
 */
import { Cause, ConfigProvider, Console, Effect, Exit, Layer, Logger } from "effect"
import type { Fiber } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import * as Patience from "effect-amqp-test-rig/Patience"
import type { Snippet } from "../../src/Snippets.ts"
import { fileOf } from "../../src/Snippets.ts"

type Program = Effect.Effect<unknown, unknown>

let handedOver: Array<Program> = []

/** Stands in for `NodeRuntime.runMain`: the program is handed to the test. */
export const runMain = (...args: ReadonlyArray<unknown>): unknown => {
  if (!Effect.isEffect(args[0])) return (program: Program) => runMain(program, args[0])
  handedOver.push(args[0] as Program)
  return undefined
}

const load = async (snippet: Snippet): Promise<Program> => {
  handedOver = []
  await import(fileOf(snippet))
  const [program] = handedOver
  if (handedOver.length !== 1) throw new Error(`${snippet.file} runs ${handedOver.length} programs, and not one`)
  return program!
}

/** A program at work, or one that has ended. */
export interface Running {
  readonly snippet: Snippet
  readonly lines: ReadonlyArray<string>
  readonly fiber: Fiber.Fiber<unknown, unknown>
}

const render = (message: unknown): string =>
  (Array.isArray(message) ? message : [message])
    .map((part: unknown) => typeof part === "string" ? part : JSON.stringify(part))
    .join(" ")

/** What a program prints and logs, in the place of the console. */
const recorded = (lines: Array<string>) => {
  const print = (...args: ReadonlyArray<unknown>) => void lines.push(...render(args).split("\n"))
  const console: Console.Console = new Proxy({} as Console.Console, { get: () => print })
  return Layer.mergeAll(
    Logger.layer([
      Logger.make(({ logLevel, message }) => print(...(logLevel === "Info" ? [] : [logLevel]), ...[message].flat()))
    ]),
    Layer.succeed(Console.Console, console),
    ConfigProvider.layer(ConfigProvider.fromUnknown({}))
  )
}

/** Tells if lines were printed, in their order. */
export const hasPrinted = (lines: ReadonlyArray<string>, expected: ReadonlyArray<string>): boolean => {
  let next = 0
  for (const line of lines) if (next < expected.length && line.includes(expected[next]!.trim())) next++
  return next === expected.length
}

const hasEnded = ({ fiber }: Running): boolean => fiber.pollUnsafe() !== undefined

const isReady = (running: Running): boolean =>
  hasEnded(running) || hasPrinted(running.lines, [running.snippet.prints[0] ?? "\0"])

/** Starts the programs of a page, each when the one before is ready. They are interrupted when the scope ends. */
export const start = Effect.fnUntraced(function*(snippets: ReadonlyArray<Snippet>) {
  const broker = yield* AmqpMemory.AmqpMemory
  const scope = yield* Effect.scope
  const all: Array<Running> = []
  for (const snippet of snippets) {
    const program = yield* Effect.promise(() => load(snippet))
    const lines: Array<string> = []
    const { consumers } = yield* broker.counts
    const fiber = yield* program.pipe(Effect.provide(recorded(lines)), Effect.forkIn(scope))
    const running: Running = { snippet, lines, fiber }
    all.push(running)
    yield* Patience.until(
      `${snippet.file} ends, consumes, or prints its first line`,
      Effect.map(broker.counts, (counts) => isReady(running) || counts.consumers > consumers)
    )
  }
  return all
})

/** Waits until a program has printed what the page says, or has ended if the page says nothing. */
export const finish = (running: Running): Effect.Effect<void> => {
  const { lines, snippet: { file, prints } } = running
  const report = () => `the page says\n${prints.join("\n")}\nand it has printed\n${lines.join("\n")}`
  return Patience.until(
    prints.length === 0 ? `${file} ends` : `${file} prints what the page says`,
    Effect.sync(() => {
      if (prints.length === 0 ? hasEnded(running) : hasPrinted(lines, prints)) return true
      if (hasEnded(running)) throw new Error(`${file} has ended (${failureOf(running) ?? "well"}): ${report()}`)
      return false
    })
  ).pipe(Effect.catchDefect((defect) => Effect.die(new Error(report(), { cause: defect }))))
}

/** What a program failed with, if it has failed and was not only interrupted. */
export const failureOf = ({ fiber }: Running): string | undefined => {
  const exit = fiber.pollUnsafe()
  if (exit === undefined) return "it is still running"
  return Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause) ? undefined : Cause.pretty(exit.cause)
}

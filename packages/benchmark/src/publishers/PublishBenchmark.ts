/**
 * The publish benchmark: the contenders of a heat connect, warm up, and publish in turns, round after round. Each round
 * begins with another contender, so that the machine's other work hits all of them alike.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type { Broker, BrokerFailed } from "../measure/Broker.ts"
import type { Measured, Sample } from "../measure/Measured.ts"
import { measured } from "../measure/Measured.ts"
import type { Calibration } from "../measure/Noise.ts"
import * as Progress from "../measure/Progress.ts"
import { percentile } from "../measure/Statistics.ts"
import type { TrialFailed } from "../measure/TrialProcess.ts"
import * as TrialProcess from "../measure/TrialProcess.ts"
import type { Entrant, Heat } from "./plan.ts"
import type { Request } from "./trial.ts"

/** A server to publish to. */
export interface Target {
  readonly name: string
  readonly url: string
  readonly queue: string
  /** A turn has so many times as many messages as before RabbitMQ: a short one would measure the compiler of the runtime. */
  readonly speed: number
  /** Empties the queue. */
  readonly purge: Effect.Effect<void, BrokerFailed>
}

/** The figures of one contender. */
export interface Result extends Entrant, Measured {
  readonly server: string
  readonly bodyBytes: number
  /** Milliseconds from publish to confirm. */
  readonly latency: { readonly p50: number; readonly p99: number }
}

/** RabbitMQ as a target. */
export const rabbitMq = (broker: Broker): Target => ({ ...broker, name: `RabbitMQ ${broker.version}`, speed: 1 })

/** The instant server as a target: it confirms at once. */
export const instant: Effect.Effect<Target, TrialFailed, Scope> = Effect.gen(function*() {
  const server = yield* TrialProcess.make({ script: new URL("../wire/InstantServer.ts", import.meta.url) })
  const { port } = (yield* server.greeting) as { readonly port: number }
  return {
    name: "instant",
    url: `amqp://guest:guest@127.0.0.1:${port}`,
    queue: "benchmark",
    speed: 5,
    purge: Effect.void
  }
})

// With bodies up to this size the instant server is so fast that its turns have more messages.
const shortBody = 256

// Twice, because the compiler is not done with hot code after a few thousand messages.
const warmUps = 2

interface Competitor {
  readonly entrant: Entrant
  readonly messages: number
  readonly ask: (request: Request) => Effect.Effect<unknown, TrialFailed>
  readonly samples: Array<Sample>
}

const script = new URL("./trial.ts", import.meta.url)

/** Compiles every module beforehand, so that no contender's process has to do it. */
export const compile: Effect.Effect<void, TrialFailed> = Effect.scoped(
  Effect.flatMap(TrialProcess.make({ script }), (trial) => Effect.asVoid(trial.ask({ ask: "compile" })))
)

const enter = Effect.fnUntraced(function*(
  entrant: Entrant,
  heat: Heat,
  target: Target,
  profileInto: string | undefined
): Effect.fn.Return<Competitor, TrialFailed, Scope> {
  const { contender, inFlight } = entrant
  const trial = yield* TrialProcess.make({
    script,
    profileInto,
    profileName: `${target.name} ${heat.bodyBytes} ${contender} ${inFlight}`.replaceAll(/[^\w.-]+/g, "-")
  })
  const ask = (request: Request) =>
    Effect.mapError(
      trial.ask(request),
      ({ message }) => new TrialProcess.TrialFailed({ message: `${contender}, ${inFlight} in flight: ${message}` })
    )
  const messages = heat.messages(inFlight) * (heat.bodyBytes <= shortBody ? target.speed : 1)
  const load = { url: target.url, queue: target.queue, bodyBytes: heat.bodyBytes, inFlight }
  yield* ask({ ask: "open", contender, load })
  return { entrant, messages, ask, samples: [] }
})

const rotated = <A>(list: ReadonlyArray<A>, by: number): ReadonlyArray<A> => {
  const at = by % list.length
  return [...list.slice(at), ...list.slice(0, at)]
}

/** Runs one heat before one server. */
export const run = (
  heat: Heat,
  target: Target,
  calibration: Calibration,
  profileInto?: string
): Effect.Effect<ReadonlyArray<Result>, TrialFailed | BrokerFailed> =>
  Effect.scoped(Effect.gen(function*() {
    const { entrants, rounds } = heat
    const progress = Progress.make(`${target.name}, ${bytes(heat.bodyBytes)}`, entrants.length * (rounds + warmUps + 2))
    const competitors = yield* Effect.forEach(entrants, (entrant) =>
      Effect.tap(enter(entrant, heat, target, profileInto), () =>
        Effect.sync(() =>
          progress.step(`${entrant.contender} connected`)
        )), { concurrency: 2 })

    const takeTurns = (
      what: string,
      round: number,
      turn: (competitor: Competitor) => Effect.Effect<void, TrialFailed>
    ) =>
      Effect.forEach(rotated(competitors, round * 3), (competitor) =>
        Effect.gen(function*() {
          yield* target.purge
          calibration.sample()
          yield* turn(competitor)
          progress.step(`${what}: ${competitor.entrant.contender}`)
        }), { discard: true })

    for (let round = 0; round < warmUps; round++) {
      yield* takeTurns("warm-up", 0, ({ ask, messages }) =>
        Effect.asVoid(ask({ ask: "publish", count: messages })))
    }
    for (let round = 1; round <= rounds; round++) {
      yield* takeTurns(`round ${round}`, round, ({ ask, messages, samples }) =>
        Effect.map(ask({ ask: "publish", count: messages }), (sample) => {
          samples.push(sample as Sample)
        }))
    }
    const results: Array<Result> = []
    yield* takeTurns("latencies", 0, ({ ask, entrant, messages, samples }) =>
      Effect.gen(function*() {
        const peakBytes = (yield* ask({ ask: "peak" })) as number
        const latencies = (yield* ask({ ask: "latencies", count: messages })) as ReadonlyArray<number>
        results.push({
          ...entrant,
          server: target.name,
          bodyBytes: heat.bodyBytes,
          ...measured(samples, peakBytes),
          latency: { p50: percentile(latencies, 0.5), p99: percentile(latencies, 0.99) }
        })
        yield* ask({ ask: "close" })
      }))
    progress.done()
    return results
  }))

/** Writes a size for people. */
export const bytes = (size: number): string =>
  size >= 1024 * 1024 ? `${size / 1024 / 1024} MiB` : size >= 1024 ? `${size / 1024} KiB` : `${size} B`

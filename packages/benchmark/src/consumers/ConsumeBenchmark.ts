/**
 * The consume benchmark: in each turn one contender takes so many messages, out of a queue of RabbitMQ that is filled
 * for it, or from the instant server, which always has more. The turns are interleaved as in the publish benchmark.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type { Broker, BrokerFailed } from "../measure/Broker.ts"
import type { Measured, Sample } from "../measure/Measured.ts"
import { measured } from "../measure/Measured.ts"
import type { Calibration } from "../measure/Noise.ts"
import * as Progress from "../measure/Progress.ts"
import type { TrialFailed } from "../measure/TrialProcess.ts"
import * as TrialProcess from "../measure/TrialProcess.ts"
import * as PublishBenchmark from "../publishers/PublishBenchmark.ts"
import type { ContenderName } from "./contenders.ts"
import type { Request } from "./trial.ts"

/** One contender with one prefetch and one concurrency. */
export interface Entrant {
  readonly contender: ContenderName
  readonly prefetch: number
  readonly concurrency: number
}

/** The figures of one contender. */
export interface Result extends Entrant, Measured {
  readonly server: string
}

/** A server to consume from. */
export interface Source {
  readonly name: string
  readonly url: string
  readonly queue: string
  /** A turn has so many times as many messages as before RabbitMQ. */
  readonly speed: number
  /** Has so many messages in the queue, and no others. */
  readonly prepare: (count: number) => Effect.Effect<void, BrokerFailed>
}

/** The size of a run. */
export interface Options {
  readonly rounds: number
  readonly messages: number
  readonly entrants: ReadonlyArray<Entrant>
  readonly profileInto: string | undefined
}

const bodyBytes = 256

const warmUps = 2

/** Makes a source of RabbitMQ. */
export const rabbitMq = (broker: Broker): Source => ({
  name: `RabbitMQ ${broker.version}`,
  url: broker.url,
  queue: broker.queue,
  speed: 1,
  prepare: (count) => Effect.andThen(broker.purge, broker.fill(count, bodyBytes))
})

/** A source that always has messages. */
export const instant: Effect.Effect<Source, TrialFailed, Scope> = Effect.map(
  PublishBenchmark.instant,
  ({ name, queue, speed, url }) => ({ name, queue, speed, url, prepare: () => Effect.void })
)

const each = (contender: ContenderName, ...settings: ReadonlyArray<readonly [prefetch: number, concurrency: number]>) =>
  settings.map(([prefetch, concurrency]): Entrant => ({ contender, prefetch, concurrency }))

/** All contenders. */
export const everything: ReadonlyArray<Entrant> = [
  ...each("raw socket", [100, 1], [1000, 1]),
  ...each("amqplib", [1, 1], [100, 1], [1000, 1]),
  ...each("Effect.runFork", [1, 1], [100, 1], [1000, 1]),
  ...each("rabbitmq-client", [1, 1], [100, 100], [1000, 1], [1000, 100]),
  ...each("@cloudamqp/amqp-client", [1, 1], [100, 1], [1000, 1]),
  ...each("amqp-connection-manager", [1, 1], [100, 1], [1000, 1]),
  ...each("rascal", [1, 1], [100, 1], [1000, 1]),
  ...each("effect-amqp", [1, 1], [100, 1], [100, 100], [1000, 1], [1000, 100]),
  ...each("effect-amqp stream", [1000, 1])
]

/** The contenders that have a bar. */
export const few: ReadonlyArray<Entrant> = [
  ...each("raw socket", [1000, 1]),
  ...each("amqplib", [1000, 1]),
  ...each("Effect.runFork", [1000, 1]),
  ...each("@cloudamqp/amqp-client", [1000, 1]),
  ...each("effect-amqp", [1000, 1], [1000, 100]),
  ...each("effect-amqp stream", [1000, 1])
]

interface Competitor {
  readonly entrant: Entrant
  readonly messages: number
  readonly ask: (request: Request) => Effect.Effect<unknown, TrialFailed>
  readonly samples: Array<Sample>
}

const script = new URL("./trial.ts", import.meta.url)

/** Compiles everything, so that no contender's process has to do it. */
export const compile: Effect.Effect<void, TrialFailed> = Effect.scoped(
  Effect.flatMap(TrialProcess.make({ script }), (trial) => Effect.asVoid(trial.ask({ ask: "compile" })))
)

const enter = Effect.fnUntraced(function*(
  entrant: Entrant,
  source: Source,
  options: Options
): Effect.fn.Return<Competitor, TrialFailed, Scope> {
  const { concurrency, contender, prefetch } = entrant
  const trial = yield* TrialProcess.make({
    script,
    profileInto: options.profileInto,
    profileName: `consume ${source.name} ${contender} ${prefetch} ${concurrency}`.replaceAll(/[^\w.-]+/g, "-")
  })
  const ask = (request: Request) =>
    Effect.mapError(
      trial.ask(request),
      ({ message }) => new TrialProcess.TrialFailed({ message: `${contender}, prefetch ${prefetch}: ${message}` })
    )
  yield* ask({ ask: "open", contender, load: { url: source.url, queue: source.queue, prefetch, concurrency } })
  // Fewer messages, because a prefetch of 1 costs a round trip for each; a tenth of them would be over in 160 ms, in which
  // the start of a consumer and the compiler of the runtime show.
  const messages = Math.max(1, Math.round(options.messages * source.speed * (prefetch === 1 ? 0.5 : 1)))
  return { entrant, messages, ask, samples: [] }
})

/** Runs it before one server. */
export const run = (
  source: Source,
  calibration: Calibration,
  options: Options
): Effect.Effect<ReadonlyArray<Result>, TrialFailed | BrokerFailed> =>
  Effect.scoped(Effect.gen(function*() {
    const { entrants, rounds } = options
    const progress = Progress.make(`consume from ${source.name}`, entrants.length * (rounds + warmUps + 1))
    const competitors = yield* Effect.forEach(entrants, (entrant) =>
      Effect.tap(enter(entrant, source, options), () =>
        Effect.sync(() =>
          progress.step(`${entrant.contender} connected`)
        )), { concurrency: 2 })
    for (let round = -warmUps; round < rounds; round++) {
      const first = Math.max(0, round * 3) % competitors.length
      for (const competitor of [...competitors.slice(first), ...competitors.slice(0, first)]) {
        const { ask, entrant, messages, samples } = competitor
        yield* source.prepare(messages)
        calibration.sample()
        const sample = (yield* ask({ ask: "consume", count: messages })) as Sample
        if (round >= 0) {
          samples.push(sample)
        }
        yield* ask({ ask: "stop" })
        progress.step(`${round < 0 ? "warm-up" : `round ${round + 1}`}: ${entrant.contender}`)
      }
    }
    const results = yield* Effect.forEach(competitors, ({ ask, entrant, samples }) =>
      Effect.gen(function*() {
        const peakBytes = (yield* ask({ ask: "peak" })) as number
        yield* ask({ ask: "close" })
        return { ...entrant, server: source.name, ...measured(samples, peakBytes) }
      }))
    progress.done()
    return results
  }))

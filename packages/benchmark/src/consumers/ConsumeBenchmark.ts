/**
 * The consume benchmark: in each turn the queue is filled, and one contender takes every message out of it. The turns
 * are interleaved as in the publish benchmark.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type { Broker, BrokerFailed } from "../measure/Broker.ts"
import type { Measured, Ratios, Sample } from "../measure/Measured.ts"
import { measured, ratios } from "../measure/Measured.ts"
import type { Calibration } from "../measure/Noise.ts"
import * as Progress from "../measure/Progress.ts"
import type { TrialFailed } from "../measure/TrialProcess.ts"
import * as TrialProcess from "../measure/TrialProcess.ts"
import type { ContenderName } from "./contenders.ts"
import { baseline } from "./contenders.ts"
import type { Request } from "./trial.ts"

/** One contender with one prefetch and one concurrency. */
export interface Entrant {
  readonly contender: ContenderName
  readonly prefetch: number
  readonly concurrency: number
}

/** The figures of one contender, beside raw amqplib with the same prefetch. */
export interface Result extends Entrant, Measured {
  readonly ratios: Ratios | undefined
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

const each = (contender: ContenderName, ...settings: ReadonlyArray<readonly [prefetch: number, concurrency: number]>) =>
  settings.map(([prefetch, concurrency]): Entrant => ({ contender, prefetch, concurrency }))

/** All contenders. */
export const everything: ReadonlyArray<Entrant> = [
  ...each("amqplib", [1, 1], [100, 1], [1000, 1]),
  ...each("rabbitmq-client", [1, 1], [100, 100], [1000, 1], [1000, 100]),
  ...each("@cloudamqp/amqp-client", [1, 1], [100, 1], [1000, 1]),
  ...each("effect-amqp", [1, 1], [100, 1], [100, 100], [1000, 1], [1000, 100]),
  ...each("effect-amqp stream", [1000, 1])
]

/** The contenders that have a bar. */
export const few: ReadonlyArray<Entrant> = [
  ...each("amqplib", [1000, 1]),
  ...each("rabbitmq-client", [1000, 100]),
  ...each("effect-amqp", [1000, 1], [1000, 100])
]

interface Competitor {
  readonly entrant: Entrant
  readonly messages: number
  readonly ask: (request: Request) => Effect.Effect<unknown, TrialFailed>
  readonly samples: Array<Sample>
}

const script = new URL("./trial.ts", import.meta.url)

const compile = Effect.scoped(
  Effect.flatMap(TrialProcess.make({ script }), (trial) => trial.ask({ ask: "compile" }))
)

const enter = Effect.fnUntraced(function*(
  entrant: Entrant,
  broker: Broker,
  options: Options
): Effect.fn.Return<Competitor, TrialFailed, Scope> {
  const { concurrency, contender, prefetch } = entrant
  const trial = yield* TrialProcess.make({
    script,
    profileInto: options.profileInto,
    profileName: `consume ${contender} ${prefetch} ${concurrency}`.replaceAll(/[^\w.-]+/g, "-")
  })
  const ask = (request: Request) =>
    Effect.mapError(
      trial.ask(request),
      ({ message }) => new TrialProcess.TrialFailed({ message: `${contender}, prefetch ${prefetch}: ${message}` })
    )
  yield* ask({ ask: "open", contender, load: { url: broker.url, queue: broker.queue, prefetch, concurrency } })
  // Fewer messages, because a prefetch of 1 costs a round trip for each.
  const messages = Math.max(1, prefetch === 1 ? Math.round(options.messages / 10) : options.messages)
  return { entrant, messages, ask, samples: [] }
})

/** Runs it before RabbitMQ. */
export const run = (
  broker: Broker,
  calibration: Calibration,
  options: Options
): Effect.Effect<ReadonlyArray<Result>, TrialFailed | BrokerFailed> =>
  Effect.scoped(Effect.gen(function*() {
    const { entrants, rounds } = options
    yield* compile
    const progress = Progress.make(`consume from RabbitMQ ${broker.version}`, entrants.length * (rounds + warmUps + 1))
    const competitors = yield* Effect.forEach(entrants, (entrant) =>
      Effect.tap(enter(entrant, broker, options), () =>
        Effect.sync(() =>
          progress.step(`${entrant.contender} connected`)
        )), { concurrency: 2 })
    for (let round = -warmUps; round < rounds; round++) {
      const first = Math.max(0, round * 3) % competitors.length
      for (const competitor of [...competitors.slice(first), ...competitors.slice(0, first)]) {
        const { ask, entrant, messages, samples } = competitor
        yield* broker.purge
        yield* broker.fill(messages, bodyBytes)
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
        return { ...entrant, ...measured(samples, peakBytes) }
      }))
    progress.done()
    return results.map((result): Result => {
      const base = results.find((other) =>
        other.contender === baseline && other.prefetch === result.prefetch
      )
      return Object.assign(result, {
        ratios: base === undefined || base === result ? undefined : ratios(result, base)
      })
    })
  }))

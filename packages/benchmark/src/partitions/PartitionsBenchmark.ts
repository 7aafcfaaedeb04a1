/**
 * The partitions benchmark: partitions beside one quorum queue whose consumers have as many handlers at once, with one
 * instance and with three, each in a process of its own. The queues are filled while the handlers are held, and the time
 * runs from when they are let go. The ways take turns, so that whatever else the machine does hits them alike.
 */
import * as AmqpPartitions from "effect-amqp/AmqpPartitions"
import * as AmqpPublisher from "effect-amqp/AmqpPublisher"
import * as AmqpTopology from "effect-amqp/AmqpTopology"
import * as Effect from "effect/Effect"
import type { Measured, Sample } from "../measure/Measured.ts"
import { measured } from "../measure/Measured.ts"
import type { Calibration } from "../measure/Noise.ts"
import * as Progress from "../measure/Progress.ts"
import * as TrialProcess from "../measure/TrialProcess.ts"
import type { Load, Progress as Told, Request } from "./trial.ts"

/** One way, with so many partitions, or handlers at once, and so many instances. */
export interface Entrant {
  readonly way: Load["way"]
  readonly width: number
  readonly instances: number
}

/** How it went. */
export interface Result extends Entrant, Measured {}

/** The size of a run. */
export interface Options {
  readonly url: string
  readonly rounds: number
  readonly messages: number
  readonly entrants: ReadonlyArray<Entrant>
}

const pairs = (instances: number, widths: ReadonlyArray<number>): ReadonlyArray<Entrant> =>
  widths.flatMap((width) => (["one queue", "partitions"] as const).map((way): Entrant => ({ way, width, instances })))

/** Partitions, and the one queue beside each. */
export const everything: ReadonlyArray<Entrant> = [...pairs(1, [1, 4, 12]), ...pairs(3, [1, 4, 12])]

/** Those that the bar of the rate is about. */
export const few: ReadonlyArray<Entrant> = pairs(1, [1, 12])

const warmUps = 2
const body = new Uint8Array(256)
const script = new URL("./trial.ts", import.meta.url)
const pollMillis = 25

const enter = Effect.fnUntraced(function*(entrant: Entrant, url: string) {
  const { instances, way, width } = entrant
  const name = `effect-amqp-benchmark-${crypto.randomUUID().slice(0, 8)}`
  const queue = AmqpTopology.queue(name, { type: "quorum" })
  const partitions = AmqpPartitions.make(name, { count: width })
  yield* way === "partitions"
    ? AmqpPartitions.declare(partitions)
    : AmqpTopology.declare(AmqpTopology.make(queue))
  const trials = yield* Effect.forEach(
    Array.from({ length: instances }, (_, at) => `instance-${at}`),
    (instance) =>
      Effect.tap(
        TrialProcess.make({ script }),
        ({ ask }) => ask({ ask: "open", load: { url, way, name, width, instance } } satisfies Request)
      )
  )
  const askAll = (request: Request) => Effect.forEach(trials, ({ ask }) => ask(request), { concurrency: "unbounded" })
  const messageOf = (i: number) =>
    way === "partitions" ? AmqpPartitions.message(partitions, `key-${i}`, { body }) : { routingKey: name, body }
  const samples: Array<Sample> = []
  return { entrant, askAll, messageOf, samples }
})

/** Runs it before RabbitMQ. */
export const run = Effect.fnUntraced(function*({ entrants, messages, rounds, url }: Options, calibration: Calibration) {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  const progress = Progress.make("partitions", entrants.length * (rounds + warmUps))
  const competitors = yield* Effect.forEach(entrants, (entrant) => enter(entrant, url))
  for (let round = -warmUps; round < rounds; round++) {
    for (const offset of competitors.keys()) {
      const { askAll, entrant, messageOf, samples } = competitors[(offset + round + warmUps) % competitors.length]!
      yield* askAll({ ask: "hold" })
      yield* publisher.publishAll(Array.from({ length: messages }, (_, i) => messageOf(i)))
      calibration.sample()
      const begun = Math.min(...(yield* askAll({ ask: "go" })) as ReadonlyArray<number>)
      let told: ReadonlyArray<Told>
      do {
        yield* Effect.sleep(pollMillis)
        told = (yield* askAll({ ask: "progress" })) as ReadonlyArray<Told>
      } while (told.reduce((sum, { handled }) => sum + handled, 0) < messages)
      if (round >= 0) {
        samples.push({
          messages,
          seconds: (Math.max(...told.map(({ lastAt }) => lastAt)) - begun) / 1000,
          cpuMicros: told.reduce((sum, { cpuMicros }) => sum + cpuMicros, 0)
        })
      }
      progress.step(`${entrant.way}, ${entrant.width}, ${entrant.instances} instances`)
    }
  }
  const results = yield* Effect.forEach(competitors, ({ askAll, entrant, samples }) =>
    Effect.gen(function*() {
      const peaks = (yield* askAll({ ask: "peak" })) as ReadonlyArray<number>
      yield* askAll({ ask: "close" })
      return { ...entrant, ...measured(samples, Math.max(...peaks)) }
    }))
  progress.done()
  return results as ReadonlyArray<Result>
})

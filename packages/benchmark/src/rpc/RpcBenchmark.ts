/**
 * Calls through RabbitMQ: raw amqplib with JSON, rabbitmq-client's RPC and effect-amqp-rpc, one at a time and 100 at
 * once, and a stream. Client and server of a contender are in one process, so that its CPU is that of both; the contenders
 * take turns there, so that whatever else the machine does hits them alike.
 */
import * as Effect from "effect/Effect"
import type { Broker } from "../measure/Broker.ts"
import type { Measured, Sample } from "../measure/Measured.ts"
import { measured, take } from "../measure/Measured.ts"
import type { Calibration } from "../measure/Noise.ts"
import * as Progress from "../measure/Progress.ts"
import { amqplibWithJson } from "./amqplib.ts"
import { effectAmqpRpc } from "./effectAmqpRpc.ts"
import { rabbitmqClient } from "./rabbitmqClient.ts"

/** One way to call, and how it went. */
export interface Result extends Measured {
  readonly contender: string
  readonly what: string
}

/** The size of a run. */
export interface Options {
  readonly rounds: number
  readonly calls: number
}

const warmUps = 2
const itemsPerCall = 50

/** The contender that all ratios are to. */
export const baseline = "amqplib with JSON"
/** The contender that has bars. */
export const own = "effect-amqp-rpc"

/** Runs it before RabbitMQ. */
export const run = Effect.fnUntraced(function*(broker: Broker, calibration: Calibration, { calls, rounds }: Options) {
  const contenders = [
    { name: baseline, caller: yield* amqplibWithJson(broker.url, `${broker.queue}-amqplib`) },
    { name: "rabbitmq-client RPC", caller: yield* rabbitmqClient(broker.url, `${broker.queue}-rabbitmq-client`) },
    { name: own, caller: yield* effectAmqpRpc(broker.url, `${broker.queue}-effect-amqp`) }
  ]
  const unary = (atOnce: number, count: number) =>
    contenders.map(({ caller, name }) => ({
      contender: name,
      what: `unary, ${atOnce} at once`,
      turn: () => take(count, () => caller.call(count, atOnce)),
      samples: new Array<Sample>()
    }))
  const streams = contenders.flatMap(({ caller: { stream }, name }) =>
    stream === undefined ? [] : [{
      contender: name,
      what: "an item of a stream, 100 a part",
      turn: () => take(calls * itemsPerCall, () => stream(calls * itemsPerCall)),
      samples: new Array<Sample>()
    }]
  )
  const ways = [...unary(100, calls), ...unary(1, Math.ceil(calls / 10)), ...streams]
  const progress = Progress.make(`call through RabbitMQ ${broker.version}`, ways.length * (rounds + warmUps))
  for (let round = -warmUps; round < rounds; round++) {
    for (const { contender, samples, turn, what } of ways) {
      calibration.sample()
      const sample = yield* Effect.promise(turn)
      if (round >= 0) samples.push(sample)
      progress.step(`${contender}: ${what}`)
    }
  }
  progress.done()
  return ways.map(({ contender, samples, what }): Result =>
    Object.assign({ contender, what }, measured(samples, process.resourceUsage().maxRSS * 1024))
  )
})

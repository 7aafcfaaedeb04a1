/** The faults of a soak: a given row, or a random row that its seed repeats. */
import type * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import type { RabbitMqError } from "effect-amqp-test-rig/RabbitMqError"
import * as Effect from "effect/Effect"

/** One fault, from the moment it begins until the broker works again. */
export interface Fault {
  readonly name: string
  readonly run: (broker: RabbitMq.Service) => Effect.Effect<void, RabbitMqError>
}

/** SIGKILL, and a start. */
export const kill: Fault = { name: "kill -9", run: (broker) => Effect.andThen(broker.kill, broker.start) }

/** An orderly stop, and a start. */
export const restart: Fault = { name: "restart", run: (broker) => Effect.andThen(broker.stop, broker.start) }

const during = (
  name: string,
  millis: number,
  begin: (broker: RabbitMq.Service) => Effect.Effect<void, RabbitMqError>,
  end: (broker: RabbitMq.Service) => Effect.Effect<void, RabbitMqError>
): Fault => ({
  name: `${name} of ${millis} ms`,
  run: (broker) => begin(broker).pipe(Effect.andThen(Effect.sleep(millis)), Effect.andThen(end(broker)))
})

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
const numbersOf = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}

/** An endless row of random faults, each with the pause before it. */
export function* random(seed: number): Generator<readonly [pauseMillis: number, fault: Fault], never> {
  const next = numbersOf(seed)
  const upTo = (limit: number) => Math.floor(next() * limit)
  for (;;) {
    const pause = 500 + upTo(8000)
    const length = 200 + upTo(15_000)
    const kinds: ReadonlyArray<Fault> = [
      kill,
      restart,
      { name: "forced close", run: (broker) => broker.closeAllConnections("soak") },
      { name: "reset", run: (broker) => broker.killAllConnections },
      during("freeze", length, (broker) => broker.freeze, (broker) => broker.thaw),
      during("memory alarm", length, (broker) => broker.setMemoryAlarm, (broker) => broker.clearMemoryAlarm),
      during("disk alarm", length, (broker) => broker.setDiskAlarm, (broker) => broker.clearDiskAlarm)
    ]
    yield [pause, kinds[upTo(kinds.length)]!]
  }
}

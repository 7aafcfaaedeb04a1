/**
 * How many messages are given back at once. RabbitMQ 4.3 does not count what is nacked as failed, but hands only some 32
 * settlements of a channel on to a quorum queue at a time: those that still wait when the channel closes are lost, and
 * their messages count as failed. One nack of many is one settlement.
 */
import * as Effect from "effect/Effect"
import type { Delivery } from "../../AmqpDelivery.ts"

const atOnce = 16
const pause = "50 millis"

/** Settles messages one by one and takes them from the list, no faster than a quorum queue writes. */
export const slowly = <T>(list: Array<T>, settle: (one: T) => void): Effect.Effect<void> =>
  Effect.suspend(() => {
    list.splice(0, atOnce).forEach(settle)
    return list.length === 0 ? Effect.void : Effect.andThen(Effect.sleep(pause), slowly(list, settle))
  })

/**
 * Gives messages of one channel back by one nack, which takes along whatever else is out below the last of them. Returns
 * how many of them were out.
 */
export const together = (deliveries: ReadonlyArray<Delivery>): number => {
  let count = 0
  let last: Delivery | undefined
  for (const delivery of deliveries) {
    if (delivery.isSettled || delivery.isStale) continue
    count++
    if (last === undefined || delivery.deliveryTag > last.deliveryTag) last = delivery
  }
  return last?.nackUnsafe(true, true) === true ? count : 0
}

import type { AmqpDriver, DriverChannel, DriverConnection } from "effect-amqp/AmqpDriver"
import * as AmqplibDriver from "effect-amqp/AmqplibDriver"
import * as Effect from "effect/Effect"
import type { Timeline } from "./Publisher.ts"

/**
 * The library's own driver, with a look at each write and each confirm. A pipeline shows its caller the end of a batch
 * only, so its latencies are taken here.
 */
export const tappedDriver = (timeline: () => Timeline | undefined): AmqpDriver => {
  const tapChannel = (channel: DriverChannel, written: { tags: number }): DriverChannel => ({
    ...channel,
    publishUnsafe(message) {
      timeline()?.written(written.tags++)
      return channel.publishUnsafe(message)
    }
  })
  const tapConnection = (connection: DriverConnection): DriverConnection => ({
    ...connection,
    openChannel(options, events) {
      const written = { tags: 0 }
      let settledTo = 0
      const settledAlone = new Set<number>()
      const tapped = connection.openChannel(options, {
        ...events,
        onConfirm(tag, multiple, ack) {
          const present = timeline()
          for (let one = multiple ? settledTo + 1 : tag; one <= tag; one++) {
            if (multiple && settledAlone.delete(one)) continue
            present?.confirmed(one - 1)
          }
          if (multiple) settledTo = tag
          else settledAlone.add(tag)
          events.onConfirm(tag, multiple, ack)
        }
      })
      return Effect.map(tapped, (channel) => tapChannel(channel, written))
    }
  })
  return {
    name: "amqplib, tapped",
    connect: (options, events) => Effect.map(AmqplibDriver.driver.connect(options, events), tapConnection)
  }
}

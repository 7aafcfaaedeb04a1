import { openAmqplibChannel } from "./amqplibChannel.ts"
import { callbackWindow } from "./callbackWindow.ts"
import type { Contender } from "./Publisher.ts"
import { bodyOf } from "./Publisher.ts"

/** amqplib at its lowest cost: a confirm channel and one callback. The contender that all ratios are to. */
export const contender: Contender = {
  async open(load) {
    const { channel, close } = await openAmqplibChannel(load.url)
    const body = bodyOf(load)
    const options = { persistent: true, mandatory: true }
    return {
      publish: (count, timeline) =>
        callbackWindow(
          count,
          load.inFlight,
          (onConfirm) => channel.publish("", load.queue, body, options, onConfirm),
          timeline
        ),
      close
    }
  }
}

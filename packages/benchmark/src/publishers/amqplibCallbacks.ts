import { openAmqplibChannel } from "./amqplibChannel.ts"
import { callbackWindow } from "./callbackWindow.ts"
import type { Contender } from "./Publisher.ts"
import { bodyOf } from "./Publisher.ts"

/** amqplib as it costs least: a confirm channel and one callback. All ratios are to this. */
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

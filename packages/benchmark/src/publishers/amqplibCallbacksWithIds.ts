import { openAmqplibChannel } from "./amqplibChannel.ts"
import { callbackWindow } from "./callbackWindow.ts"
import type { Contender } from "./Publisher.ts"
import { bodyOf } from "./Publisher.ts"

/** amqplib with callbacks, writing the same properties as this library does: a message id of its own for each message. */
export const contender: Contender = {
  async open(load) {
    const { channel, close } = await openAmqplibChannel(load.url)
    const body = bodyOf(load)
    const prefix = crypto.randomUUID()
    let sequence = 0
    return {
      publish: (count, timeline) =>
        callbackWindow(
          count,
          load.inFlight,
          (onConfirm) =>
            channel.publish("", load.queue, body, {
              persistent: true,
              mandatory: true,
              contentType: "application/octet-stream",
              messageId: `${prefix}-${(++sequence).toString(36)}`
            }, onConfirm),
          timeline
        ),
      close
    }
  }
}

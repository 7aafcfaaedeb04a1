import { connect } from "amqp-connection-manager"
import { promiseWindow } from "./promiseWindow.ts"
import type { Contender } from "./Publisher.ts"
import { bodyOf } from "./Publisher.ts"

/** A channel wrapper of amqp-connection-manager, without its optional timeout. */
export const contender: Contender = {
  async open(load) {
    const manager = connect([load.url], { connectionOptions: { noDelay: true } })
    const channel = manager.createChannel({ confirm: true })
    await channel.waitForConnect()
    const body = bodyOf(load)
    const options = { persistent: true, mandatory: true }
    return {
      publish: (count, timeline) =>
        promiseWindow(count, load.inFlight, () => channel.publish("", load.queue, body, options), timeline),
      close: () => manager.close()
    }
  }
}

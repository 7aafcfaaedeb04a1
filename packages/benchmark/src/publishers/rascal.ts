import rascal from "rascal"
import { promiseWindow } from "./promiseWindow.ts"
import type { Contender } from "./Publisher.ts"
import { bodyOf } from "./Publisher.ts"

/**
 * A publication of rascal's. Rascal lends a channel to each message until its confirm, so it needs a channel for each
 * message in flight.
 */
export const contender: Contender = {
  async open(load) {
    const pool = { max: load.inFlight, min: load.inFlight, autostart: true }
    const broker = await rascal.BrokerAsPromised.create({
      vhosts: {
        benchmark: {
          connection: { url: load.url, socketOptions: { noDelay: true }, options: { channelMax: 2047 } },
          assert: false,
          publicationChannelPools: { confirmPool: pool },
          exchanges: { "": { assert: false } }
        }
      },
      publications: {
        message: {
          vhost: "benchmark",
          exchange: "",
          routingKey: load.queue,
          confirm: true,
          options: { persistent: true, mandatory: true }
        }
      }
    })
    broker.on("error", () => {})
    const body = bodyOf(load)
    const publish = async () => {
      const publication = await broker.publish("message", body)
      await new Promise((resolve, reject) => {
        publication.once("success", resolve)
        publication.once("error", reject)
      })
    }
    return {
      publish: (count, timeline) => promiseWindow(count, load.inFlight, publish, timeline),
      close: () => broker.shutdown()
    }
  }
}

import * as Effect from "effect/Effect"
import { openAmqplibChannel } from "./amqplibChannel.ts"
import { fiberWindow } from "./fiberWindow.ts"
import type { Contender } from "./Publisher.ts"
import { bodyOf } from "./Publisher.ts"

/**
 * The smallest Effect around amqplib's callback, with and without `Effect.timeout`: the difference is what the timeout
 * costs, which this library's `publish` has too.
 */
export const effectOverAmqplib = (timeout: boolean): Contender => ({
  async open(load) {
    const { channel, close } = await openAmqplibChannel(load.url)
    const body = bodyOf(load)
    const options = { persistent: true, mandatory: true }
    const confirmed = Effect.callback<void, Error>((resume) => {
      channel.publish(
        "",
        load.queue,
        body,
        options,
        (error: Error | null) => resume(error === null ? Effect.void : Effect.fail(error))
      )
    })
    const publish = timeout ? Effect.timeout(confirmed, "5 seconds") : confirmed
    return {
      publish: (count, timeline) => Effect.runPromise(fiberWindow(count, load.inFlight, publish, timeline)),
      close
    }
  }
})

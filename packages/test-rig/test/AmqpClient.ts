import type { Channel, ChannelModel } from "amqplib"
import { connect } from "amqplib"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/**
 * A bare client, to see a broker as its clients see it. What its connection suffered is remembered, not thrown.
 */
export interface AmqpClient {
  readonly connection: ChannelModel
  readonly channel: Channel
  /** The error with which the connection was closed, once it was. */
  readonly closed: Promise<Error | undefined>
}

export const make = (
  url: string,
  socketOptions: Parameters<typeof connect>[1] = {}
): Effect.Effect<AmqpClient, Error, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: async (): Promise<AmqpClient> => {
        const connection = await connect(url, {
          noDelay: true,
          timeout: Duration.toMillis(Patience.limit),
          ...socketOptions
        })
        connection.on("error", () => {})
        const closed = new Promise<Error | undefined>((resolve) => connection.on("close", resolve))
        const channel = await connection.createChannel()
        channel.on("error", () => {})
        return { connection, channel, closed }
      },
      catch: (cause) => cause instanceof Error ? cause : new Error(String(cause))
    }),
    ({ connection, closed }) =>
      Effect.promise(() => Promise.race([connection.close().catch(() => {}), closed])).pipe(
        Effect.timeoutOption("1 second")
      )
  )

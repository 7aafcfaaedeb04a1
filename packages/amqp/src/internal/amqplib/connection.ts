/**
 * A connection of the port over a connection of amqplib: opening channels, and closing within a bound.
 */
import type { Channel, ChannelModel } from "amqplib"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { Socket } from "node:net"
import type { DriverConnection, DriverConnectionEvents } from "../../AmqpDriver.ts"
import * as AmqpError from "../../AmqpError.ts"
import { makeChannel } from "./channel.ts"
import { ChannelState } from "./channelState.ts"
import { watchCloses } from "./closedNumbers.ts"
import { closeReason } from "./errors.ts"
import { readTogether } from "./incoming.ts"
import { connectionOf } from "./internals.ts"
import { writeChannel, writeTogether } from "./outgoing.ts"

// How long a goodbye may take, to be flushed and to be answered, before its socket is destroyed.
const lingerMillis = 1000

/**
 * Makes a connection of the port from one of amqplib whose handshake has ended and whose socket is still held back.
 * `abort` destroys the socket.
 */
export const makeConnection = (
  model: ChannelModel,
  events: DriverConnectionEvents,
  abort: AbortController,
  socket: Socket | undefined
): DriverConnection => {
  const connection = connectionOf(model)
  const channels = new Set<ChannelState>()
  // Called at the end of the connection, for callers that wait for an answer that is not a channel's.
  const endings = new Set<() => void>()
  let lastError: unknown
  let closedWith: AmqpError.AmqpError | undefined
  let closing = false

  const finish = (error: AmqpError.AmqpError) => {
    if (closedWith !== undefined) return
    closedWith = error
    writer.end()
    for (const channel of channels) channel.finish(error)
    for (const ended of endings) ended()
    events.onClose(error)
  }
  // amqplib only half-closes the socket, which stays for ever if the peer is gone.
  const linger = () => {
    socket?.destroySoon()
    setTimeout(() => abort.abort(), lingerMillis).unref()
  }

  model.on("error", (error: unknown) => {
    lastError = error
    // After a breach of the protocol amqplib waits for the answer to its goodbye, and that may never come.
    setTimeout(
      () => destroyUnsafe(new AmqpError.AmqpError({ operation: "connection", reason: closeReason(error) })),
      lingerMillis
    ).unref()
  })
  model.on("close", (error: unknown) => {
    const cause = error ?? (closing ? undefined : lastError)
    finish(new AmqpError.AmqpError({ operation: "connection", reason: closeReason(cause) }))
    linger()
  })
  model.on("blocked", (reason: string) => events.onBlocked(reason))
  model.on("unblocked", () => events.onUnblocked())

  const byNumber = new Map<number, ChannelState>()
  const writer = writeTogether(connection, readTogether(connection, byNumber))
  connection.stream.on("drain", () => {
    for (const channel of channels) channel.drained()
  })
  const closeBecause = connection.closeBecause.bind(connection)
  connection.closeBecause = (...args) => {
    closeBecause(...args)
    for (const channel of channels) channel.isClosing = true
  }

  // createChannel calls freshChannel synchronously, so the wrapped call belongs to the channel being opened.
  let opening: ChannelState | undefined
  const numbers = watchCloses(connection)
  connection.freshChannel = (channel, channelOptions) => {
    const state = opening!
    const number = numbers.number(channel, channelOptions)
    state.attach(channel, number)
    writeChannel(connection, number, writer)
    byNumber.set(number, state)
    channel.on("close", () => {
      // Whoever heard of the close before may have another channel of that number.
      if (byNumber.get(number) === state) byNumber.delete(number)
    })
    return number
  }

  const destroyUnsafe = (error: AmqpError.AmqpError) => {
    finish(error)
    abort.abort()
  }

  return {
    serverProperties: connection.serverProperties,
    frameMax: connection.frameMax,
    openChannel: (channelOptions, channelEvents) =>
      Effect.callback((resume) => {
        if (closedWith !== undefined) return resume(Effect.fail(closedWith))
        const state = new ChannelState(channelOptions.confirm, channelEvents, channels, writer)
        opening = state
        const opened: Promise<Channel> = channelOptions.confirm ? model.createConfirmChannel() : model.createChannel()
        opening = undefined
        const count = numbers.openings()
        opened.then(
          (channel) => {
            numbers.answered(count)
            if (state.isAbandoned) {
              channel.close().catch(() => {})
            } else {
              resume(Effect.succeed(makeChannel(channel, state)))
            }
          },
          (error: unknown) => {
            channels.delete(state)
            const limit = error instanceof Error && /No channels left/.test(error.message)
            resume(Effect.fail(
              limit
                ? new AmqpError.AmqpError({
                  operation: "openChannel",
                  reason: new AmqpError.ChannelLimit({ of: "connection", channelMax: connection.channelMax })
                })
                : state.errorOf("openChannel", error)
            ))
          }
        )
        return Effect.sync(() => {
          state.isAbandoned = true
        })
      }),
    updateSecret: (secret, reason) =>
      Effect.callback((resume) => {
        const ended = () => {
          const error = closedWith!
          resume(Effect.fail(new AmqpError.AmqpError({ operation: "updateSecret", reason: error.reason })))
        }
        if (closedWith !== undefined) return ended()
        endings.add(ended)
        const updating = (async () => model.updateSecret(Buffer.from(Redacted.value(secret)), reason))()
        updating.then(() => resume(Effect.void), () => {}).finally(() => endings.delete(ended))
        return Effect.sync(() => endings.delete(ended))
      }),
    close: Effect.suspend(() => {
      // amqplib would wait for an answer that cannot come.
      if (closedWith !== undefined) return Effect.void
      closing = true
      return Effect.ignore(Effect.tryPromise(() => model.close()))
    }),
    destroyUnsafe
  }
}

/**
 * Numbers of channels that the broker has closed, kept apart until it has certainly read the answer.
 *
 * RabbitMQ before 4.3 repeats the `channel.close` of an acknowledgement timeout until it is answered. A process that stood
 * still reads two of them. amqplib takes the second for a breach of the protocol, or gives it to the next channel of that
 * number: either costs the whole connection.
 */
import type { Channel } from "amqplib"
import type { Connection } from "./internals.ts"

/** The numbers of one connection. */
export interface ClosedNumbers {
  /** Numbers a channel that is being opened, and counts the opening. */
  readonly number: (channel: Channel, options: unknown) => number
  /** Counts the openings so far. */
  readonly openings: () => number
  /** Says that the broker has answered an opening: what it had closed before that may be numbered again. */
  readonly answered: (opening: number) => void
}

const channelClose = 0x00140028

/** Starts to watch the closes of a connection. */
export const watchCloses = (connection: Connection): ClosedNumbers => {
  // By number, how many openings had been written when the broker closed the channel.
  const closed = new Map<number, number>()
  let openings = 0

  const accept = connection.accept
  connection.accept = (frame) => {
    if (frame.id !== channelClose) return accept.call(connection, frame)
    const { channel: number } = frame
    if (closed.has(number)) return
    // Whoever hears of the close may open another channel at once.
    if (connection.channels[number] !== undefined) closed.set(number, openings)
    accept.call(connection, frame)
    // A channel that the application is closing waits for the answer, and keeps its number.
    if (connection.channels[number] !== null) closed.delete(number)
  }

  const freshChannel = connection.freshChannel.bind(connection)
  const { freeChannels } = connection
  const numberApart = (channel: Channel, options: unknown): number => {
    for (const number of closed.keys()) freeChannels.set(number)
    try {
      return freshChannel(channel, options)
    } finally {
      for (const number of closed.keys()) freeChannels.clear(number)
    }
  }

  return {
    number(channel, options) {
      openings++
      try {
        return numberApart(channel, options)
      } catch (error) {
        if (closed.size === 0) throw error
        closed.clear()
        return freshChannel(channel, options)
      }
    },
    openings: () => openings,
    answered(opening) {
      for (const [number, at] of closed) if (at < opening) closed.delete(number)
    }
  }
}

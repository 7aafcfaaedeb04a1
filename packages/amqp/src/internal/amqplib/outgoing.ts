/**
 * The writing half of a connection: one writer for the frames of amqplib and those of messages.
 */
import type { FrameWriter as Writer } from "../wire/frameWriter.ts"
import { FrameWriter } from "../wire/frameWriter.ts"
import type { Connection } from "./internals.ts"

/**
 * Writes what amqplib writes through a writer of ours, together with messages and acknowledgements: what was asked for
 * first leaves first.
 */
export const writeTogether = (connection: Connection): Writer => {
  const writer = new FrameWriter(connection.stream, {
    frameMax: connection.frameMax,
    schedule: setImmediate,
    onWrite() {
      connection.sentSinceLastCheck = true
    }
  })
  connection.stream.on("drain", () => writer.drained())
  connection.channels[0]!.buffer = {
    write(frame) {
      writer.frames(frame)
      // amqplib may end the socket behind the last words of a connection.
      writer.flush()
      return true
    },
    end() {}
  }
  return writer
}

/** Writes the frames of a channel that amqplib has numbered through the writer of its connection. */
export const writeChannel = (connection: Connection, number: number, writer: Writer): void => {
  connection.channels[number]!.buffer = {
    write(frame) {
      writer.frames(frame)
      return true
    },
    end() {}
  }
}

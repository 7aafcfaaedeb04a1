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
export const writeTogether = (connection: Connection, isReading: () => boolean): Writer => {
  const writer = new FrameWriter(connection.stream, {
    frameMax: connection.frameMax,
    // While the socket is read, more may be written in answer. What is written later in a turn leaves when its task is
    // over: to wait for the next turn would cost those who go one message at a time a question to the kernel each.
    schedule(flush) {
      if (isReading()) setImmediate(flush)
      else process.nextTick(flush)
    },
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

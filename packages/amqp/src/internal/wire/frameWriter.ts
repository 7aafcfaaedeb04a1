/**
 * Writes the frames of one connection into one buffer, which goes to the socket once a turn of the event loop, or when
 * it is full. What is asked for first leaves first, on whichever channel, and nothing of a message is written that
 * cannot be written whole.
 */
import type { WireMessage } from "../../AmqpDriver.ts"
import type { FieldProblem } from "./fieldSize.ts"
import { tableProblem } from "./fieldSize.ts"
import { frameEnd, frameHeaderSize, frameOverhead, frameType, writeFrameHeader } from "./frame.ts"
import {
  acknowledgementSize,
  headerFrameSize,
  maxMessageHead,
  writeAck,
  writeMessageHead,
  writeNack,
  writeReject
} from "./messageWriter.ts"
import { headersSize } from "./properties.ts"

/** Where the frames go: a socket. */
export interface Output {
  /** Calls back when the bytes have left, in the order of the writes; with an error if they have not. */
  readonly write: (bytes: Uint8Array, onWritten: (error?: Error | null) => void) => boolean
  readonly cork: () => void
  readonly uncork: () => void
  /** Bytes that it holds and that have not left. */
  readonly writableLength: number
}

/** Thrown for a message of which nothing was written, because it cannot be written whole. */
export class MessageRefused extends Error {
  override readonly name = "MessageRefused"
  readonly field: string
  readonly detail: string

  constructor({ detail, path }: FieldProblem) {
    super(`${path}: ${detail}`)
    this.field = path
    this.detail = detail
  }
}

const bufferSize = 0x10000

// So many full buffers are kept until they have left, to be used again.
const maxRetired = 4

// To copy a larger body costs more than to hand it to the socket by itself.
const copyLimit = 0x1000

// So many bytes of bodies are handed to the socket together.
const corkLimit = 0x10000

const frameEndBytes = Buffer.from([frameEnd])

/** Writes the frames of one connection. */
export class FrameWriter {
  readonly #output: Output
  readonly #frameMax: number
  readonly #schedule: (flush: () => void) => void
  readonly #onWrite: () => void
  #buffer: Buffer = Buffer.allocUnsafeSlow(bufferSize)
  /** Up to here the buffer has been handed to the socket, and may not be touched. */
  #start = 0
  #end = 0
  /** Full buffers, and how many writes have to be over before each can be used again. */
  readonly #retired: Array<{ readonly buffer: Buffer; readonly after: number }> = []
  #writes = 0
  #written = 0
  /** Behind the last acknowledgement that was written into this buffer, and the channel and the tag of that. */
  #ackEnd = 0
  #ackChannel = 0
  #ackTag = 0
  #isScheduled = false
  #isCorked = false
  /** Bytes that were handed to the corked socket. */
  #corked = 0
  #isFull = false
  #isOver = false

  /** `schedule` runs what it gets once, at the end of the turn; `onWrite` is told before the socket gets something. */
  constructor(
    output: Output,
    options: {
      readonly frameMax: number
      readonly schedule: (flush: () => void) => void
      readonly onWrite: () => void
    }
  ) {
    this.#output = output
    this.#frameMax = options.frameMax
    this.#schedule = options.schedule
    this.#onWrite = options.onWrite
  }

  /** Says that the socket takes more; otherwise its event `drain` is to come, which {@link drained} is told. */
  get isWritable(): boolean {
    // A socket also asks to wait for its event when it has passed on all that it got.
    return !this.#isFull || this.#output.writableLength === 0
  }

  /** Is told that the socket has passed on all that it got. */
  drained(): void {
    this.#isFull = false
  }

  /** Writes a message; throws {@link MessageRefused} if it cannot be written. */
  publish(channel: number, message: WireMessage): void {
    const headers = headersSize(message.properties)
    if (headers < 0) throw new MessageRefused(tableProblem(message.properties.headers, "headers")!)
    if (headers + maxMessageHead > this.#frameMax) {
      const size = headerFrameSize(message, headers)
      if (size > this.#frameMax) {
        throw new MessageRefused({
          path: "headers",
          detail: `they need ${headers} bytes, and may need at most ${this.#frameMax - size + headers} on this ` +
            "connection, whose frames must hold all properties of a message; use the body"
        })
      }
    }
    const body = message.body
    const size = body.byteLength
    const isCopied = size <= copyLimit && size <= this.#frameMax - frameOverhead
    const needed = headers + maxMessageHead + (isCopied ? frameOverhead + size : frameHeaderSize)
    this.#reserve(needed)
    const end = writeMessageHead(this.#buffer, channel, message, this.#end)
    this.#end = end
    if (size === 0) return this.#scheduleFlush()
    if (isCopied) {
      const from = writeFrameHeader(this.#buffer, frameType.body, channel, size, end)
      this.#buffer.set(body, from)
      this.#buffer[from + size] = frameEnd
      this.#end = from + size + 1
      return this.#scheduleFlush()
    }
    this.#writeBody(channel, body)
  }

  ack(channel: number, tag: number, multiple: boolean): void {
    if (multiple && this.#isAckLast(channel) && tag > this.#ackTag) {
      // It acknowledges what the one before does.
      writeAck(this.#buffer, channel, tag, multiple, this.#end - acknowledgementSize)
      this.#ackTag = tag
      return
    }
    this.#reserve(acknowledgementSize)
    this.#end = writeAck(this.#buffer, channel, tag, multiple, this.#end)
    this.#ackEnd = this.#end
    this.#ackChannel = channel
    this.#ackTag = tag
    this.#scheduleFlush()
  }

  /** Says that the last frame that was written and has not left acknowledges something on this channel. */
  #isAckLast(channel: number): boolean {
    return this.#ackEnd === this.#end && this.#ackEnd > this.#start && this.#ackChannel === channel
  }

  nack(channel: number, tag: number, multiple: boolean, requeue: boolean): void {
    this.#reserve(acknowledgementSize)
    this.#end = writeNack(this.#buffer, channel, tag, multiple, requeue, this.#end)
    this.#scheduleFlush()
  }

  reject(channel: number, tag: number, requeue: boolean): void {
    this.#reserve(acknowledgementSize)
    this.#end = writeReject(this.#buffer, channel, tag, requeue, this.#end)
    this.#scheduleFlush()
  }

  /** Writes whole frames that somebody else has encoded. */
  frames(bytes: Uint8Array): void {
    this.#reserve(bytes.byteLength)
    this.#buffer.set(bytes, this.#end)
    this.#end += bytes.byteLength
    this.#scheduleFlush()
  }

  /** Hands everything to the socket now. */
  flush(): void {
    this.#handOver()
    if (!this.#isCorked) return
    this.#isCorked = false
    this.#corked = 0
    this.#output.uncork()
  }

  /** Writes nothing any more: the socket has ended. */
  end(): void {
    this.#isOver = true
    this.#start = this.#end
  }

  /** Makes room for `size` bytes in one piece. */
  #reserve(size: number): void {
    if (this.#buffer.length - this.#end >= size) return
    this.#handOver()
    if (this.#buffer.length === bufferSize && this.#retired.length < maxRetired) {
      this.#retired.push({ buffer: this.#buffer, after: this.#writes })
    }
    const oldest = this.#retired[0]
    if (size <= bufferSize && oldest !== undefined && oldest.after <= this.#written) {
      this.#buffer = oldest.buffer
      this.#retired.shift()
    } else this.#buffer = Buffer.allocUnsafeSlow(Math.max(bufferSize, size))
    this.#rewind()
  }

  /** Writes from the start of the buffer again. */
  #rewind(): void {
    this.#start = 0
    this.#end = 0
    this.#ackEnd = 0
  }

  readonly #onWritten = (error?: Error | null): void => {
    // What did not leave may still be with the socket.
    if (error !== undefined && error !== null) return
    this.#written++
    if (this.#written === this.#writes && this.#start === this.#end) this.#rewind()
  }

  #writeBody(channel: number, body: Uint8Array): void {
    const most = this.#frameMax - frameOverhead
    for (let offset = 0; offset < body.byteLength; offset += most) {
      const part = body.subarray(offset, offset + most)
      this.#reserve(frameHeaderSize)
      this.#end = writeFrameHeader(this.#buffer, frameType.body, channel, part.byteLength, this.#end)
      this.#cork()
      this.#handOver()
      if (this.#isOver) return
      this.#write(part)
      // Not through the buffer: what somebody else writes to the socket must not come before it.
      this.#write(frameEndBytes)
      this.#corked += part.byteLength
    }
    if (this.#corked >= corkLimit) this.flush()
    else this.#scheduleFlush()
  }

  #cork(): void {
    if (this.#isCorked) return
    this.#isCorked = true
    this.#output.cork()
  }

  #handOver(): void {
    if (this.#end === this.#start) return
    const bytes = this.#buffer.subarray(this.#start, this.#end)
    this.#start = this.#end
    if (this.#isOver) return
    this.#onWrite()
    this.#write(bytes)
  }

  #write(bytes: Uint8Array): void {
    this.#writes++
    if (!this.#output.write(bytes, this.#onWritten)) this.#isFull = true
  }

  #scheduleFlush(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    this.#schedule(this.#flushScheduled)
  }

  readonly #flushScheduled = (): void => {
    this.#isScheduled = false
    this.flush()
  }
}

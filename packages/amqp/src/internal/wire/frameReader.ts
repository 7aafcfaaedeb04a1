/**
 * Reads what a broker sends, by offset: messages and confirms are told to a handler, and any other frame is handed
 * back as its bytes.
 *
 * Whatever a peer sends costs a bounded amount of work and memory. What AMQP 0-9-1 does not allow throws a
 * {@link WireError} that says what was seen, as soon as it is seen.
 */
import type { DriverDelivery, DriverReturn } from "../../AmqpDriver.ts"
import { ArrivingMessage, returnOf } from "./arrivingMessage.ts"
import { Cursor } from "./cursor.ts"
import { basicClass, frameEnd, frameHeaderSize, frameOverhead, frameType, method } from "./frame.ts"
import { readUint16, readUint32 } from "./integers.ts"
import { PropertiesReader } from "./properties.ts"
import { RepeatedString } from "./strings.ts"
import { WireError } from "./WireError.ts"

/** What becomes of the frames that are read. */
export interface FrameHandler {
  /** Says that a channel is open, so that a message may arrive on it. */
  readonly isOpen: (channel: number) => boolean
  readonly onDelivery: (channel: number, consumerTag: string, delivery: DriverDelivery) => void
  readonly onGetOk: (channel: number, delivery: DriverDelivery) => void
  readonly onReturn: (channel: number, returned: DriverReturn) => void
  readonly onConfirm: (channel: number, deliveryTag: number, multiple: boolean, ack: boolean) => void
  readonly onCancel: (channel: number, consumerTag: string) => void
}

// RabbitMQ allows 512 MiB and other brokers some more. What is beyond is a number that means something else.
const maxBody = 0x80000000

// The limit where the connection has agreed on none.
const unlimitedFrame = 0x1000000

const nothing = Buffer.alloc(0)

const named: { readonly [id: number]: string } = {
  [method.basicDeliver]: "a basic.deliver",
  [method.basicGetOk]: "a basic.get-ok",
  [method.basicReturn]: "a basic.return",
  [method.basicAck]: "a basic.ack",
  [method.basicNack]: "a basic.nack",
  [method.basicCancel]: "a basic.cancel"
}

const nameOf = (id: number): string => named[id] ?? `the method ${id >>> 16}.${id & 0xffff}`

/** Reads the frames of one connection. */
export class FrameReader {
  readonly #handler: FrameHandler
  readonly #payloadMax: number
  /** What is being read, and from where. */
  #buffer: Buffer = nothing
  #offset = 0
  /** What is to be read when `#buffer` is at its end. */
  #next: Buffer = nothing
  /** A frame, or only what stands in front of it, of which not all has come; and how much of it has. */
  #partial: Buffer | undefined = undefined
  #partialLength = 0
  /** Bytes that are to come of a body frame, its last byte included; the others have gone to its message. */
  #bodyLeft = 0
  #bodyChannel = 0
  /** The message that is arriving, by the number of its channel. */
  readonly #arriving = new Map<number, ArrivingMessage>()
  readonly #cursor = new Cursor()
  readonly #properties = new PropertiesReader()
  readonly #consumerTag = new RepeatedString()
  readonly #exchange = new RepeatedString()
  readonly #routingKey = new RepeatedString()

  constructor(handler: FrameHandler, frameMax: number) {
    this.#handler = handler
    this.#payloadMax = (frameMax === 0 ? unlimitedFrame : frameMax) - frameOverhead
  }

  /** Takes the next bytes; what was taken before must have been read with {@link read}. */
  push(chunk: Buffer): void {
    if (this.#partial === undefined) {
      this.#buffer = chunk
      this.#offset = 0
      return
    }
    let taken = this.#fill(chunk, 0)
    if (this.#partialLength === frameHeaderSize && this.#partial.length === frameHeaderSize) {
      const size = this.#checkFrame(this.#partial, 0)
      // The parts of a body go to its message as they come.
      if (this.#partial[0] !== frameType.body) {
        const head = this.#partial
        this.#partial = Buffer.allocUnsafe(size + frameOverhead)
        head.copy(this.#partial)
        taken = this.#fill(chunk, taken)
      }
    }
    if (this.#partialLength < this.#partial.length) return
    this.#buffer = this.#partial
    this.#offset = 0
    this.#partial = undefined
    this.#next = chunk.subarray(taken)
  }

  /** Copies into the partial frame what it lacks, and returns the offset behind that. */
  #fill(chunk: Buffer, from: number): number {
    const copied = chunk.copy(this.#partial!, this.#partialLength, from)
    this.#partialLength += copied
    return from + copied
  }

  /**
   * Reads on, up to the next frame that belongs to no message, and returns the whole of it; `undefined` once all has
   * been read that came.
   */
  read(): Buffer | undefined {
    for (;;) {
      if (this.#bodyLeft > 0) this.#readBody()
      const buffer = this.#buffer
      const offset = this.#offset
      const have = buffer.length - offset
      if (have === 0) {
        if (this.#next.length === 0) return undefined
        this.#buffer = this.#next
        this.#offset = 0
        this.#next = nothing
        continue
      }
      if (have < frameHeaderSize) return this.#keep(frameHeaderSize)
      const size = this.#checkFrame(buffer, offset)
      const type = buffer[offset]!
      if (have < size + frameOverhead) {
        if (type !== frameType.body) return this.#keep(size + frameOverhead)
        this.#bodyChannel = readUint16(buffer, offset + 1)
        this.#bodyLeft = size + 1
        this.#offset = offset + frameHeaderSize
        continue
      }
      const end = offset + frameHeaderSize + size
      if (buffer[end] !== frameEnd) throw badEnd(buffer[end]!)
      this.#offset = end + 1
      const channel = readUint16(buffer, offset + 1)
      const payload = offset + frameHeaderSize
      if (type === frameType.method) {
        if (!this.#readMethod(channel, payload, end)) return buffer.subarray(offset, end + 1)
      } else if (type === frameType.header) {
        this.#readHeader(channel, payload, end)
      } else if (type === frameType.body) {
        this.#readBodyPart(channel, payload, end)
      }
    }
  }

  /** Puts the rest of the buffer aside as the beginning of a frame, or of what stands in front of one. */
  #keep(size: number): undefined {
    this.#partial = Buffer.allocUnsafe(size)
    this.#partialLength = this.#buffer.copy(this.#partial, 0, this.#offset)
    this.#buffer = nothing
    this.#offset = 0
    return undefined
  }

  /** Checks what stands in front of a frame, before anything of the frame is waited for, and returns its size. */
  #checkFrame(buffer: Buffer, offset: number): number {
    const type = buffer[offset]!
    const channel = readUint16(buffer, offset + 1)
    const size = readUint32(buffer, offset + 3)
    switch (type) {
      case frameType.header:
        // RabbitMQ adds entries such as x-death to headers, and still sends them in one frame.
        this.#checkSize(size, 2 * this.#payloadMax)
        if (this.#arriving.get(channel)?.awaits !== "header") {
          throw new WireError(`a header frame on channel ${channel}, where no message has begun`)
        }
        return size
      case frameType.body: {
        this.#checkSize(size, this.#payloadMax)
        const message = this.#arriving.get(channel)
        if (message?.awaits !== "body") {
          throw new WireError(`a body frame on channel ${channel}, where none was announced`)
        }
        if (size > message.missing) {
          throw new WireError(
            `a body frame of ${size} bytes on channel ${channel}, where ${message.missing} were left of its message`
          )
        }
        return size
      }
      case frameType.method:
        this.#checkSize(size, this.#payloadMax)
        return size
      case frameType.heartbeat:
        if (channel !== 0 || size !== 0) {
          throw new WireError(
            `a heartbeat of ${size} bytes on channel ${channel}; it has none, and belongs to channel 0`
          )
        }
        return size
      default:
        throw new WireError(`a frame of type ${type}, which AMQP 0-9-1 does not have`)
    }
  }

  #checkSize(size: number, limit: number): void {
    if (size > limit) {
      throw new WireError(`a frame of ${size} bytes, and frames of at most ${this.#payloadMax} were agreed on`)
    }
  }

  /** Reads a method that concerns a message, and says that it was one. */
  #readMethod(channel: number, payload: number, end: number): boolean {
    const cursor = this.#cursor
    cursor.start("a method frame", this.#buffer, payload, end)
    const id = cursor.uint32()
    if (this.#arriving.has(channel)) {
      throw new WireError(`${nameOf(id)} on channel ${channel}, amid a message`)
    }
    switch (id) {
      case method.basicDeliver:
      case method.basicGetOk:
      case method.basicReturn:
        this.#begin(id, channel)
        return true
      case method.basicAck:
      case method.basicNack: {
        const deliveryTag = cursor.uint64()
        const bits = cursor.octet()
        cursor.end()
        this.#checkOpen(id, channel)
        this.#handler.onConfirm(channel, deliveryTag, (bits & 1) === 1, id === method.basicAck)
        return true
      }
      case method.basicCancel: {
        const consumerTag = cursor.shortString()
        this.#checkOpen(id, channel)
        this.#handler.onCancel(channel, consumerTag)
        return true
      }
      default:
        return false
    }
  }

  #checkOpen(id: number, channel: number): void {
    if (!this.#handler.isOpen(channel)) {
      throw new WireError(`${nameOf(id)} on channel ${channel}, which is not open`)
    }
  }

  #begin(id: number, channel: number): void {
    this.#checkOpen(id, channel)
    const cursor = this.#cursor
    const message = new ArrivingMessage(id)
    if (id === method.basicReturn) {
      message.replyCode = readUint16(cursor.buffer, cursor.pass(2))
      message.replyText = cursor.shortString()
    } else {
      if (id === method.basicDeliver) message.consumerTag = cursor.repeatedString(this.#consumerTag)
      message.deliveryTag = cursor.uint64()
      message.redelivered = (cursor.octet() & 1) === 1
    }
    message.exchange = cursor.repeatedString(this.#exchange)
    message.routingKey = cursor.repeatedString(this.#routingKey)
    // How many messages are left in the queue.
    if (id === method.basicGetOk) cursor.pass(4)
    cursor.end()
    this.#arriving.set(channel, message)
  }

  #readHeader(channel: number, payload: number, end: number): void {
    const cursor = this.#cursor
    cursor.start("a header frame", this.#buffer, payload, end)
    const contentClass = readUint16(this.#buffer, cursor.pass(2))
    if (contentClass !== basicClass) throw new WireError(`a header frame of class ${contentClass}; messages have 60`)
    // A weight that nobody uses.
    cursor.pass(2)
    const size = cursor.uint64()
    if (size > maxBody) throw new WireError(`the header of a message of ${size} bytes, which no broker allows`)
    const message = this.#arriving.get(channel)!
    message.describe(this.#properties.read(cursor), size)
    if (size === 0) this.#deliver(channel, message)
  }

  #readBodyPart(channel: number, from: number, to: number): void {
    const message = this.#arriving.get(channel)!
    message.add(this.#buffer, from, to)
    if (message.missing === 0) this.#deliver(channel, message)
  }

  /** Reads on in a body frame that did not come as a whole. */
  #readBody(): void {
    const buffer = this.#buffer
    const from = this.#offset
    const to = Math.min(buffer.length, from + this.#bodyLeft - 1)
    const message = this.#arriving.get(this.#bodyChannel)!
    if (to > from) message.add(buffer, from, to)
    this.#bodyLeft -= to - from
    this.#offset = to
    if (this.#bodyLeft > 1 || to === buffer.length) return
    if (buffer[to] !== frameEnd) throw badEnd(buffer[to]!)
    this.#offset = to + 1
    this.#bodyLeft = 0
    if (message.missing === 0) this.#deliver(this.#bodyChannel, message)
  }

  #deliver(channel: number, message: ArrivingMessage): void {
    this.#arriving.delete(channel)
    switch (message.method) {
      case method.basicDeliver:
        return this.#handler.onDelivery(channel, message.consumerTag, message)
      case method.basicGetOk:
        return this.#handler.onGetOk(channel, message)
      default:
        return this.#handler.onReturn(channel, returnOf(message))
    }
  }
}

const badEnd = (seen: number): WireError =>
  new WireError(`a frame that ends with 0x${seen.toString(16).padStart(2, "0")} instead of 0xce`)

import * as Frames from "./Frames.ts"
import { Settled } from "./Settled.ts"

const bodyBytes = 256

// More at once would only wait in the socket.
const most = 1000

/** The messages of one consumer, which never end: made beforehand, so that only their tags are written in. */
export class Feed {
  readonly #tagAt: number
  readonly #bytes: Buffer
  readonly #size: number
  readonly #settled: Settled
  #nextTag: number
  #credit: number

  /** A prefetch of 0 has no limit. */
  constructor(channel: number, consumerTag: string, queue: string, prefetch: number, firstTag: number) {
    const { bytes, tagAt } = Frames.deliver(channel, consumerTag, queue, Buffer.alloc(bodyBytes, "effect-amqp "))
    this.#tagAt = tagAt
    this.#size = bytes.byteLength
    this.#bytes = Buffer.concat(Array.from({ length: most }, () => bytes))
    this.#credit = prefetch === 0 ? Number.POSITIVE_INFINITY : prefetch
    this.#nextTag = firstTag
    this.#settled = new Settled(firstTag - 1)
  }

  /** The tag of the next message. */
  get nextTag(): number {
    return this.#nextTag
  }

  /** Takes an acknowledgement, of whatever kind. */
  settle(tag: number, multiple: boolean): void {
    this.#credit += this.#settled.settle(tag, multiple)
  }

  /** Returns the frames of as many messages as may be out now; `undefined` if there may be none. */
  take(): Buffer | undefined {
    const count = Math.min(this.#credit, most)
    if (count === 0) return undefined
    this.#credit -= count
    // The socket may keep what it is given.
    const bytes = Buffer.allocUnsafe(count * this.#size)
    this.#bytes.copy(bytes, 0, 0, bytes.byteLength)
    for (let at = this.#tagAt + 4; at < bytes.byteLength; at += this.#size) bytes.writeUInt32BE(this.#nextTag++, at)
    return bytes
  }
}

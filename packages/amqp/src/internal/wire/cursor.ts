/** A place in a frame that is being read: it moves on over one field after the other, and never out of the frame. */
import { readUint32, readUint64 } from "./integers.ts"
import { readShortString, type RepeatedString } from "./strings.ts"
import { WireError } from "./WireError.ts"

export class Cursor {
  buffer: Buffer = Buffer.alloc(0)
  #at = 0
  #end = 0
  #frame = ""

  /** Starts to read a part of a buffer, which belongs to a frame of this name. */
  start(frame: string, buffer: Buffer, at: number, end: number): void {
    this.#frame = frame
    this.buffer = buffer
    this.#at = at
    this.#end = end
  }

  /** Moves past a field of `size` bytes, and returns its start. */
  pass(size: number): number {
    const from = this.#at
    if (from + size > this.#end) throw new WireError(`${this.#frame} that ends within a field`)
    this.#at = from + size
    return from
  }

  octet(): number {
    return this.buffer[this.pass(1)]!
  }

  uint32(): number {
    return readUint32(this.buffer, this.pass(4))
  }

  uint64(): number {
    return readUint64(this.buffer, this.pass(8))
  }

  shortString(): string {
    return readShortString(this.buffer, this.#passShortString())
  }

  /** A short string that is probably the same as the one before. */
  repeatedString(repeated: RepeatedString): string {
    return repeated.read(this.buffer, this.#passShortString())
  }

  /** Ends the frame, which must have been read to its last byte. */
  end(): void {
    const left = this.#end - this.#at
    if (left > 0) throw new WireError(`${this.#frame} with ${left} bytes too many`)
  }

  #passShortString(): number {
    const from = this.#at
    return this.pass(1 + (from < this.#end ? this.buffer[from]! : 0))
  }
}

/**
 * The body of a message that arrives in parts: each byte of it is copied once or twice, however many parts there are.
 */

// A peer can announce a body that it never sends, so that only as much is set aside at once.
const firstBytes = 0x100000

export class BodyAssembly {
  readonly #size: number
  #buffer: Buffer
  #length = 0

  /** Begins a body of `size` bytes. */
  constructor(size: number) {
    this.#size = size
    this.#buffer = Buffer.allocUnsafeSlow(Math.min(size, firstBytes))
  }

  /** Adds a part, which must not be longer than what is missing. */
  add(source: Buffer, from: number, to: number): void {
    const length = this.#length + to - from
    if (length > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.min(this.#size, Math.max(length, 2 * this.#buffer.length)))
      this.#buffer.copy(larger, 0, 0, this.#length)
      this.#buffer = larger
    }
    source.copy(this.#buffer, this.#length, from, to)
    this.#length = length
  }

  /** The body, once nothing is missing. */
  get body(): Buffer {
    return this.#buffer
  }
}

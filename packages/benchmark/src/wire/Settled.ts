/** Which tags of a channel are settled, when they may be settled out of order and many at once. */
export class Settled {
  /** All tags up to this one are settled. */
  #upTo: number
  readonly #alone = new Set<number>()

  constructor(upTo = 0) {
    this.#upTo = upTo
  }

  /** Settles a tag, or all up to it, and returns how many were not settled before. */
  settle(tag: number, multiple: boolean): number {
    if (tag <= this.#upTo || this.#alone.has(tag)) return multiple ? this.#fill(tag) : 0
    if (!multiple && tag !== this.#upTo + 1) {
      this.#alone.add(tag)
      return 1
    }
    return this.#fill(tag)
  }

  #fill(tag: number): number {
    let settled = 0
    while (this.#upTo < tag) {
      this.#upTo++
      if (this.#alone.size === 0 || !this.#alone.delete(this.#upTo)) settled++
    }
    while (this.#alone.size > 0 && this.#alone.delete(this.#upTo + 1)) this.#upTo++
    return settled
  }
}

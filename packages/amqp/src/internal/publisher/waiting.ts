/**
 * The messages that wait to be written, in their order. One that is withdrawn leaves its place empty, and places are
 * given up many at a time: a new array for each message would cost more.
 */
import type { Entry } from "./entry.ts"

// How many places of messages that are gone are kept at least.
const maxGone = 1024

/** A queue of messages. */
export class Waiting {
  /** Places before the head are empty. */
  #places: Array<Entry | undefined> = []
  #head = 0
  /** Settled entries that still stand in their places. */
  #dead = 0

  get count(): number {
    return this.#places.length - this.#head - this.#dead
  }

  push(entry: Entry): void {
    this.#places.push(entry)
  }

  /** Puts a message before all others. */
  unshift(entry: Entry): void {
    if (this.#head > 0) this.#places[--this.#head] = entry
    else this.#places.unshift(entry)
  }

  /** Puts several messages before all others. */
  prepend(entries: ReadonlyArray<Entry>): void {
    this.#places = [...entries, ...this.#places.slice(this.#head)]
    this.#head = 0
  }

  /** Finds the first message that waits; the places before it, of those that were withdrawn, are given up. */
  first(): Entry | undefined {
    while (this.#head < this.#places.length) {
      const entry = this.#places[this.#head]!
      if (entry.state === "Waiting") return entry
      this.shift()
      this.#dead--
    }
    return undefined
  }

  /** Gives up the first place, which must not keep its message alive. */
  shift(): void {
    this.#places[this.#head++] = undefined
  }

  /** Counts a message that waited somewhere and waits no more. */
  withdrawn(): void {
    this.#dead++
    this.compact()
  }

  /** Gives up places that are empty, if that frees enough of them. */
  compact(): void {
    const gone = this.#head + this.#dead
    const worthwhile = gone === this.#places.length
      ? gone >= maxGone || this.#dead > 0
      : gone >= maxGone && gone * 2 > this.#places.length
    if (!worthwhile) return
    this.#places = this.#places.filter((entry) => entry?.state === "Waiting")
    this.#head = 0
    this.#dead = 0
  }

  /** Lists the messages that wait now. */
  all(): ReadonlyArray<Entry> {
    return this.#places.slice(this.#head).filter((entry) => entry?.state === "Waiting") as ReadonlyArray<Entry>
  }
}

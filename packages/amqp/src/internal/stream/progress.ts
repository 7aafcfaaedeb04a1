/**
 * How far a stream was read: which offsets arrived and are being handled, and the offset below which all are handled.
 *
 * Offsets are not dense, and a stream may drop its oldest messages: only what arrived, in its order, tells what there is.
 */

type State =
  /** It arrived on the present attachment, and no handler has begun with it. */
  | "Waiting"
  | "Busy"
  | "Handled"

interface Entry {
  readonly offset: number
  state: State
}

/** Follows the offsets of one reader, across its attachments. */
export class Progress {
  #next: number | undefined
  /** All messages up to here have arrived on some attachment, and are handled or among the entries. */
  #seen: number
  /** What arrived from {@link next} on, by its offset. */
  #entries: Array<Entry> = []
  readonly #byOffset = new Map<number, Entry>()

  constructor(next: number | undefined) {
    this.#next = next
    this.#seen = (next ?? 0) - 1
  }

  /** The offset to go on at: everything below it is handled. `undefined` before anything arrived. */
  get next(): number | undefined {
    return this.#next
  }

  /** Begins anew at an offset, because the stream is another one. */
  restart(next: number): void {
    this.#next = next
    this.#seen = next - 1
    this.#entries = []
    this.#byOffset.clear()
  }

  /** Forgets what no handler has begun with: it arrives again on the next attachment. */
  detach(): void {
    const lost = this.#entries.find(({ state }) => state === "Waiting")
    if (lost === undefined) return
    this.#seen = Math.min(this.#seen, lost.offset - 1)
    this.#entries = this.#entries.filter((entry) => {
      if (entry.state !== "Waiting") return true
      this.#byOffset.delete(entry.offset)
      return false
    })
  }

  /** Notes a message that arrived; returns `false` if it is handled, or being handled, since an earlier attachment. */
  arrive(offset: number): boolean {
    this.#next ??= offset
    if (offset < this.#next) return false
    const isNew = !this.#byOffset.has(offset)
    if (isNew) this.#insert({ offset, state: "Waiting" })
    if (offset > this.#seen) this.#seen = offset
    if (!isNew) this.#advance()
    return isNew
  }

  /** Notes that a handler has begun with a message. */
  begin(offset: number): void {
    const entry = this.#byOffset.get(offset)
    if (entry !== undefined) entry.state = "Busy"
  }

  /** Notes that a message is handled, or passed over. */
  finish(offset: number): void {
    const entry = this.#byOffset.get(offset)
    if (entry === undefined) return
    entry.state = "Handled"
    this.#advance()
  }

  #insert(entry: Entry): void {
    this.#byOffset.set(entry.offset, entry)
    const entries = this.#entries
    // What is busy since an earlier attachment may lie behind it.
    let at = entries.length
    while (at > 0 && entries[at - 1]!.offset > entry.offset) at--
    if (at === entries.length) entries.push(entry)
    else entries.splice(at, 0, entry)
  }

  #advance(): void {
    let count = 0
    for (const { offset, state } of this.#entries) {
      if (state !== "Handled" || offset > this.#seen) break
      this.#next = offset + 1
      this.#byOffset.delete(offset)
      count++
    }
    if (count === 1) this.#entries.shift()
    else if (count > 1) this.#entries.splice(0, count)
  }
}

/**
 * Interrupts that came before their request, which they may overtake: as many as are worth remembering.
 */
const maxKept = 10_000

/** The calls that are not to be begun. */
export class Tombstones {
  readonly #keys = new Set<string>()

  add(key: string): void {
    this.#keys.add(key)
    if (this.#keys.size <= maxKept) return
    for (const oldest of this.#keys) {
      this.#keys.delete(oldest)
      return
    }
  }

  /** Tells if a call was interrupted before, once. */
  take(key: string): boolean {
    return this.#keys.size > 0 && this.#keys.delete(key)
  }
}

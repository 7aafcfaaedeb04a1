/**
 * Whose turn it is on a session to be alone among the messages that may have a channel or the connection closed. The
 * broker that closes a connection names no message, and several publishers may each have one that can be the cause.
 */

// How long others wait for the end of a turn, in milliseconds.
const turnMillis = 1000

/** The turns of one session. */
export class Trial {
  readonly #holders = new Set<object>()
  readonly #waiters = new Set<() => void>()
  #since = 0
  /** Every setup of the session has run. What a message costs is to cost none of them. */
  #isOpen = false

  /** Lets turns begin. */
  open(): void {
    this.#isOpen = true
    this.#tell()
  }

  /** The message whose turn it is, if it is the turn of one only. */
  get only(): object | undefined {
    const [only] = this.#holders
    return this.#holders.size === 1 ? only : undefined
  }

  /** When the next turn begins at the latest, if that is not now. */
  heldUntil(now: number): number | undefined {
    if (!this.#isOpen) return (Math.floor(now / turnMillis) + 1) * turnMillis
    return this.#holders.size === 0 || now - this.#since >= turnMillis ? undefined : this.#since + turnMillis
  }

  begin(holder: object, now: number): void {
    this.#holders.add(holder)
    this.#since = now
  }

  /** Ends the turn of a message, if it had one; those who wait are told once. */
  end(holder: object): void {
    if (this.#holders.delete(holder) && this.#holders.size === 0) this.#tell()
  }

  #tell(): void {
    const waiters = Array.from(this.#waiters)
    this.#waiters.clear()
    for (const told of waiters) told()
  }

  whenFree(told: () => void): void {
    this.#waiters.add(told)
  }
}

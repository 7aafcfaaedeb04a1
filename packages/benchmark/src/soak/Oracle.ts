/**
 * What must be true of a soak, after Jepsen's total-queue: every confirmed message comes out of the queue, only
 * messages that were sent come out, and every publish has exactly one outcome. Repeated messages are counted.
 */

/** What the oracle found. */
export interface Findings {
  readonly sent: number
  readonly confirmed: number
  /** Publishes that ended in a failure, by its reason. */
  readonly failed: { readonly [reason: string]: number }
  readonly drained: number
  /** Repeated deliveries of a message. */
  readonly duplicates: number
  /** Messages that were confirmed and never came out. */
  readonly lost: number
  /** Messages that came out and were never sent. */
  readonly unexpected: number
  /** Publishes with no outcome, or with more than one. */
  readonly notSettledOnce: number
}

const isConfirmed = 1
const isDrained = 2

/** Keeps the books of one soak. Messages are numbered from 0. */
export class Oracle {
  #sent = 0
  #confirmed = 0
  #duplicates = 0
  #unexpected = 0
  #marks = new Uint8Array(1 << 16)
  #settlements = new Uint8Array(1 << 16)
  readonly #failed: Record<string, number> = {}

  get confirmed(): number {
    return this.#confirmed
  }

  /** A number for a message that is about to be sent. */
  send(): number {
    if (this.#sent === this.#marks.length) {
      this.#marks = grown(this.#marks)
      this.#settlements = grown(this.#settlements)
    }
    return this.#sent++
  }

  onConfirmed(id: number): void {
    this.#confirmed++
    this.#marks[id]! |= isConfirmed
    this.#settlements[id]!++
  }

  onFailed(id: number, reason: string): void {
    this.#failed[reason] = (this.#failed[reason] ?? 0) + 1
    this.#settlements[id]!++
  }

  onDrained(id: number): void {
    if (id >= this.#sent) this.#unexpected++
    else if ((this.#marks[id]! & isDrained) !== 0) this.#duplicates++
    else this.#marks[id]! |= isDrained
  }

  /** The confirmed messages that a consumer has not handled. */
  missingOf(times: ReadonlyMap<number, number>): ReadonlyArray<number> {
    const missing: Array<number> = []
    for (let id = 0; id < this.#sent; id++) {
      if ((this.#marks[id]! & isConfirmed) !== 0 && !times.has(id)) missing.push(id)
    }
    return missing
  }

  /** Judges several consumers, each of which has to handle every message. */
  findingsOf(handled: ReadonlyArray<ReadonlyMap<number, number>>): Findings {
    const findings = { ...this.findings(), drained: 0, duplicates: 0, lost: 0, unexpected: 0 }
    for (const times of handled) {
      for (const [id, count] of times) {
        if (!(id < this.#sent)) findings.unexpected++
        findings.drained++
        findings.duplicates += count - 1
      }
      findings.lost += this.missingOf(times).length
    }
    return findings
  }

  findings(): Findings {
    let lost = 0
    let drained = 0
    let notSettledOnce = 0
    for (let id = 0; id < this.#sent; id++) {
      const mark = this.#marks[id]!
      if ((mark & isDrained) !== 0) drained++
      else if ((mark & isConfirmed) !== 0) lost++
      if (this.#settlements[id] !== 1) notSettledOnce++
    }
    return {
      sent: this.#sent,
      confirmed: this.#confirmed,
      failed: { ...this.#failed },
      drained,
      duplicates: this.#duplicates,
      lost,
      unexpected: this.#unexpected,
      notSettledOnce
    }
  }
}

const grown = (marks: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> => {
  const larger = new Uint8Array(marks.length * 2)
  larger.set(marks)
  return larger
}

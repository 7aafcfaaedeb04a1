/**
 * Who has which partition, and what became of the messages.
 */
import * as Worker from "./Worker.ts"

/** Counts of a run that is over. */
export interface Counts {
  readonly published: number
  readonly handled: number
  readonly lost: number
  readonly outOfOrder: number
}

/** Keeps the books. */
export class Board {
  readonly #owners: Array<string | undefined> = Worker.events.queues.map(() => undefined)
  readonly #handled: Array<{ readonly at: bigint; readonly id: string }> = []
  readonly #distinct = new Set<string>()
  readonly #alive = new Set<string>()
  published = 0

  get handled(): number {
    return this.#distinct.size
  }

  joined(name: string): void {
    this.#alive.add(name)
  }

  gone(name: string): void {
    this.#alive.delete(name)
    for (const [partition, owner] of this.#owners.entries()) {
      if (owner === name) this.#owners[partition] = undefined
    }
  }

  hear(name: string, told: Worker.Told): void {
    if (told._tag === "Handled") {
      this.#handled.push(told)
      this.#distinct.add(told.id)
    }
    if (told._tag !== "Revoked") this.#owners[told.partition] = name
    else if (this.#owners[told.partition] === name) this.#owners[told.partition] = undefined
  }

  /** The owner of each partition in one line. */
  owners(): string {
    return this.#owners.map((owner, partition) => `${partition}:${owner ?? "-"}`).join(" ")
  }

  /** A row for each worker: a mark in the column of each partition that it has. */
  table(): ReadonlyArray<string> {
    const columns = this.#owners.map((_, partition) => String(partition).padStart(3)).join("")
    return [
      `partition ${columns}`,
      ...Array.from(this.#alive, (name) => {
        const marks = this.#owners.map((owner) => owner === name ? "  ■" : "  ·").join("")
        const share = this.#owners.filter((owner) => owner === name).length
        return `${name.padEnd(10)}${marks}   ${share}`
      }),
      `published ${this.published}, handled ${this.handled}`
    ]
  }

  /** The end of the books: the lines of the workers by the machine's clock, because their pipes have no order. */
  counts(): Counts {
    const last = new Map<string, number>()
    const seen = new Set<string>()
    let outOfOrder = 0
    for (const { id } of this.#handled.sort((one, other) => one.at < other.at ? -1 : 1)) {
      if (seen.has(id)) continue
      seen.add(id)
      const [key = "", number] = id.split("/")
      if (Number(number) !== (last.get(key) ?? -1) + 1) outOfOrder++
      last.set(key, Number(number))
    }
    return { published: this.published, handled: seen.size, lost: this.published - seen.size, outOfOrder }
  }
}

/**
 * Publisher confirms of one channel: those that a fault holds back stay open, the others are put into few frames.
 */

/** The outcome of one published message. */
export interface Settled {
  readonly tag: number
  readonly ack: boolean
}

/** `basic.ack` or `basic.nack`. */
export interface ConfirmFrame {
  readonly tag: number
  readonly multiple: boolean
  readonly ack: boolean
}

const byTag = (a: number, b: number): number => a - b

export class Confirms {
  #settled: Array<Settled> = []
  /** Tags that were published and have no confirm yet because a fault keeps it. */
  readonly #open = new Set<number>()

  get hasSettled(): boolean {
    return this.#settled.length > 0
  }

  get openCount(): number {
    return this.#open.size
  }

  /** Sends the outcome with the next frames. */
  settle(settled: Settled): void {
    this.#settled.push(settled)
    if (this.#open.size > 0) this.#open.delete(settled.tag)
  }

  /** Remember an open tag, so that no frame with `multiple` settles it by accident. */
  keepOpen(tag: number): void {
    this.#open.add(tag)
  }

  /**
   * The frames for all that was settled since the last time. As in RabbitMQ one frame with `multiple` settles what is
   * below every open tag and every tag of the opposite outcome, and the others get a frame each.
   */
  take(): Array<ConfirmFrame> {
    const settled = this.#settled
    this.#settled = []
    if (settled.length === 1) {
      const { tag, ack } = settled[0]!
      return [{ tag, multiple: false, ack }]
    }
    const acked = settled.filter((one) => one.ack).map((one) => one.tag).sort(byTag)
    const nacked = settled.filter((one) => !one.ack).map((one) => one.tag).sort(byTag)
    return [...this.#coalesce(acked, nacked, true), ...this.#coalesce(nacked, acked, false)]
  }

  #coalesce(tags: ReadonlyArray<number>, opposite: ReadonlyArray<number>, ack: boolean): Array<ConfirmFrame> {
    let cutoff = opposite[0] ?? Number.POSITIVE_INFINITY
    for (const tag of this.#open) {
      if (tag < cutoff) cutoff = tag
      // Tags are opened in order, so the first is the lowest.
      break
    }
    const frames: Array<ConfirmFrame> = []
    let covered = 0
    while (covered < tags.length && tags[covered]! < cutoff) covered++
    if (covered > 0) frames.push({ tag: tags[covered - 1]!, multiple: covered > 1, ack })
    for (const tag of tags.slice(covered)) frames.push({ tag, multiple: false, ack })
    return frames
  }
}

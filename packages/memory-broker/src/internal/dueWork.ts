/**
 * The work that a change of the broker leaves behind: messages to dead-letter, and queues that may have something to
 * deliver or another time to wait for.
 */
import type { Dialect } from "./brokerVersion.ts"
import type { DeathReason } from "./deadLetter.ts"
import { bury, isCycle } from "./deadLetter.ts"
import type { DeadEntry, Queue, QueueHost } from "./queue.ts"
import { QueueTimers } from "./queueTimers.ts"
import type { Timers } from "./timers.ts"

/** A message that left its queue unconsumed and has not been dead-lettered yet. */
interface Grave {
  readonly queue: Queue
  readonly entry: DeadEntry
  readonly reason: DeathReason
}

export class DueWork implements QueueHost {
  readonly #timers: Timers
  readonly #dialect: Dialect
  readonly #queueTimers: QueueTimers
  readonly #graves: Array<Grave> = []
  readonly #touched = new Set<Queue>()

  constructor(timers: Timers, dialect: Dialect) {
    this.#timers = timers
    this.#dialect = dialect
    this.#queueTimers = new QueueTimers(timers, (queue) => {
      this.touch(queue)
      this.carryOut()
    })
  }

  /** Looks at a queue when the work is carried out. */
  touch(queue: Queue): void {
    this.#touched.add(queue)
  }

  deadLetter(queue: Queue, entry: DeadEntry, reason: DeathReason): void {
    if (queue.settings.deadLetterExchange !== undefined) this.#graves.push({ queue, entry, reason })
  }

  queueDeleted(queue: Queue): void {
    this.#queueTimers.forget(queue)
    this.#touched.delete(queue)
  }

  /** Dead-letter, deliver and set timers until nothing is due. */
  carryOut(): void {
    while (this.#graves.length > 0 || this.#touched.size > 0) {
      for (const grave of this.#graves.splice(0)) this.#bury(grave)
      for (const queue of this.#touched) {
        this.#touched.delete(queue)
        if (queue.isDeleted) continue
        queue.deliverReady(this.#timers.now)
        this.#queueTimers.set(queue)
      }
    }
  }

  #bury({ queue, entry, reason }: Grave): void {
    const { deadLetterExchange, deadLetterRoutingKey } = queue.settings
    if (deadLetterExchange === undefined) return
    const now = this.#timers.now
    const buried = bury(entry.message, {
      reason,
      queue: queue.name,
      deadLetterExchange,
      deadLetterRoutingKey,
      now,
      dialect: this.#dialect
    })
    for (const target of queue.vhost.route(deadLetterExchange, buried)) {
      const isLost = target.settings.type === "stream" && !queue.settings.deadLettersAtLeastOnce &&
        !this.#dialect.deadLettersIntoStreams
      if (isLost) continue
      if (reason !== "rejected" && isCycle(buried, target.name)) continue
      target.offer(buried, now, this.#dialect.keepsCounts && entry.failed > 0 ? entry : undefined)
      this.touch(target)
    }
  }
}

/**
 * One timer for each queue that has something to wait for: a message that expires, or its own end by disuse.
 */
import type { Queue } from "./queue.ts"
import type { Timer, Timers } from "./timers.ts"

export class QueueTimers {
  readonly #timers: Timers
  readonly #expired: (queue: Queue) => void
  readonly #byQueue = new Map<Queue, Timer>()

  /** `expired` is called after messages of a queue, or the queue itself, expired. */
  constructor(timers: Timers, expired: (queue: Queue) => void) {
    this.#timers = timers
    this.#expired = expired
  }

  /** Sets the timer of a queue to what the queue waits for now. */
  set(queue: Queue): void {
    const expiry = queue.nextExpiry
    const { expires } = queue.settings
    const disuse = expires === undefined || queue.consumers.length > 0 ? undefined : queue.lastUsedAt + expires
    const at = expiry === undefined ? disuse : disuse === undefined ? expiry : Math.min(expiry, disuse)
    const current = this.#byQueue.get(queue)
    if (current?.at === at) return
    current?.cancel()
    if (at === undefined) {
      this.#byQueue.delete(queue)
      return
    }
    this.#byQueue.set(queue, this.#timers.schedule(at, () => this.#fire(queue, at)))
  }

  #fire(queue: Queue, at: number): void {
    this.#byQueue.delete(queue)
    if (queue.isDeleted) return
    const { expires } = queue.settings
    const isDisused = expires !== undefined && queue.consumers.length === 0 && queue.lastUsedAt + expires <= at
    if (isDisused) queue.vhost.deleteQueue(queue)
    else queue.expire(this.#timers.now)
    this.#expired(queue)
  }

  forget(queue: Queue): void {
    this.#byQueue.get(queue)?.cancel()
    this.#byQueue.delete(queue)
  }
}

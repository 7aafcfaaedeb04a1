/**
 * The confirms of all channels: a fault keeps them back or loses them, the others go out with the end of the turn.
 */
import type { Channel } from "./channel.ts"
import type { Settled } from "./confirms.ts"
import type { Faults } from "./faults.ts"
import type { Timers } from "./timers.ts"

export class ConfirmDesk {
  readonly #faults: Faults
  readonly #timers: Timers
  readonly #random: () => number
  /** The channels that have confirms to send. */
  readonly #due = new Set<Channel>()
  /** Confirms that a fault keeps, in the order in which they were due. */
  #held: Array<{ readonly channel: Channel; readonly settled: Settled }> = []

  constructor(faults: Faults, timers: Timers, random: () => number) {
    this.#faults = faults
    this.#timers = timers
    this.#random = random
  }

  /** Takes the outcome of a published message, and treats it as the faults say. */
  settle(channel: Channel, settled: Settled): void {
    const faults = this.#faults
    if (faults.lostConfirms > 0) {
      faults.lostConfirms--
      channel.confirms.keepOpen(settled.tag)
      return
    }
    switch (faults.confirms._tag) {
      case "Immediate":
        this.#send(channel, settled)
        return
      case "Delayed":
        channel.confirms.keepOpen(settled.tag)
        this.#timers.schedule(this.#timers.now + faults.confirms.millis, () => {
          this.#send(channel, settled)
          this.flush()
        })
        return
      case "Withheld":
        this.#hold(channel, settled)
        return
      case "Batched":
        this.#hold(channel, settled)
        if (this.#held.length >= faults.confirms.size) this.release()
        return
      case "Reordered":
        this.#hold(channel, settled)
        if (this.#held.length >= faults.confirms.size) this.#releaseShuffled()
        return
    }
  }

  #hold(channel: Channel, settled: Settled): void {
    channel.confirms.keepOpen(settled.tag)
    this.#held.push({ channel, settled })
  }

  #send(channel: Channel, settled: Settled): void {
    if (!channel.isOpen) return
    channel.confirms.settle(settled)
    this.#due.add(channel)
  }

  /** Sends the confirms that were held back. */
  release(): void {
    for (const { channel, settled } of this.#held.splice(0)) this.#send(channel, settled)
    this.flush()
  }

  #releaseShuffled(): void {
    const held = this.#held.splice(0)
    for (let i = held.length - 1; i > 0; i--) {
      const j = Math.floor(this.#random() * (i + 1))
      const swapped = held[i]!
      held[i] = held[j]!
      held[j] = swapped
    }
    for (const { channel, settled } of held) {
      this.#send(channel, settled)
      this.flush()
    }
  }

  /** Puts the confirms that are due on the wire. */
  flush(): void {
    if (this.#due.size === 0) return
    for (const channel of this.#due) {
      for (const { tag, multiple, ack } of channel.confirms.take()) {
        channel.connection.peer.send(channel, { _tag: "Confirm", deliveryTag: tag, multiple, ack })
      }
    }
    this.#due.clear()
  }

  /** Drops the confirms of a channel that is closed. */
  forget(channel: Channel): void {
    if (this.#held.length > 0) this.#held = this.#held.filter((held) => held.channel !== channel)
    this.#due.delete(channel)
  }

  /** Drops the confirms that are held back, as a broker that goes down does. */
  forgetHeld(): void {
    this.#held = []
  }
}

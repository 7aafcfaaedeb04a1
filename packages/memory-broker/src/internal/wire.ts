/**
 * The wire between a client and the broker: the frames of each direction, in order, each with the time at which it
 * arrives.
 */
import type { AmqpErrorReason } from "effect-amqp/AmqpError"
import type { ClientChannel, Waiter } from "./clientChannel.ts"
import type { ChannelEvent, Command, MethodId, Request } from "./frames.ts"
import type { ReplyFault } from "./replyFault.ts"

/** A frame on its way to the broker. */
export type Inbound =
  | { readonly _tag: "Handshake"; readonly due: number }
  | {
    readonly _tag: "Request"
    readonly due: number
    readonly channel: ClientChannel
    readonly request: Request
    readonly waiter: Waiter | undefined
  }
  | { readonly _tag: "Command"; readonly due: number; readonly channel: ClientChannel; readonly command: Command }
  | { readonly _tag: "Goodbye"; readonly due: number }
  | { readonly _tag: "Gone"; readonly due: number }

/** A frame on its way to the client. */
export type Outbound =
  | { readonly _tag: "Connected"; readonly due: number }
  | { readonly _tag: "Refused"; readonly due: number; readonly reason: AmqpErrorReason }
  | {
    readonly _tag: "Answer"
    readonly due: number
    readonly channel: ClientChannel
    readonly request: Request
    readonly waiter: Waiter | undefined
    readonly value: unknown
  }
  | { readonly _tag: "Event"; readonly due: number; readonly channel: ClientChannel; readonly event: ChannelEvent }
  | {
    readonly _tag: "ChannelClosed"
    readonly due: number
    readonly channel: ClientChannel
    readonly fault: ReplyFault
    readonly method: MethodId
    readonly operation: string
  }
  | { readonly _tag: "ConnectionClosed"; readonly due: number; readonly fault: ReplyFault; readonly operation: string }
  | { readonly _tag: "Blocked"; readonly due: number; readonly reason: string }
  | { readonly _tag: "Unblocked"; readonly due: number }
  | { readonly _tag: "GoodbyeOk"; readonly due: number }

/** The time and the latency of the network. */
export interface Pace {
  /** Milliseconds on the Clock. */
  readonly now: number
  /** Milliseconds that a frame is under way. */
  readonly latency: number
}

/** One direction of a wire. */
export class Direction<Frame extends { readonly due: number }> {
  readonly #pace: Pace
  #frames: Array<Frame> = []
  #lastDue = 0

  constructor(pace: Pace) {
    this.#pace = pace
  }

  /** When a frame that is written now arrives: never before one that was written earlier. 0 is at once. */
  due(): number {
    const { latency } = this.#pace
    if (latency === 0 && this.#lastDue === 0) return 0
    this.#lastDue = Math.max(this.#lastDue, this.#pace.now + latency)
    return this.#lastDue
  }

  push(frame: Frame): void {
    this.#frames.push(frame)
  }

  /** Loses everything that is under way. */
  clear(): void {
    this.#frames = []
  }

  /**
   * Hands out the frames that have arrived, until `take` returns `false`: that frame stays the first. Returns when the
   * first of the others arrives, if that is what ended it.
   */
  arrive(take: (frame: Frame) => boolean): number | undefined {
    const frames = this.#frames
    let taken = 0
    let next: number | undefined
    // `take` may lose what is under way: then a new array has taken the place of this one.
    while (taken < frames.length && this.#frames === frames) {
      const frame = frames[taken]!
      if (frame.due > 0 && frame.due > this.#pace.now) {
        next = frame.due
        break
      }
      if (!take(frame)) break
      taken++
    }
    if (this.#frames !== frames) return undefined
    if (taken === frames.length) this.#frames = []
    else if (taken > 0) this.#frames = frames.slice(taken)
    return next
  }
}

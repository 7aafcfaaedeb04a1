/**
 * The calls of a client that have no outcome yet. Plain synchronous code: it runs a few times per call.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type { RpcClientError } from "effect/rpc/RpcClientError"
import type { FromServerEncoded } from "effect/rpc/RpcMessage"

/** One call, from when it is made to its outcome. */
export class Call {
  readonly id: string
  readonly clientId: number
  readonly body: Uint8Array
  readonly startedAt: number
  /** The reply queue that its answer goes to, once the request was handed over. */
  sentTo: string | undefined
  sentAt = 0
  /** The control queue of the server that has it, as far as that is known. */
  server: string | undefined
  /** The server has acknowledged it: it goes to no other server. */
  isHeld = false
  /** Something came of its stream. */
  isStreaming = false
  /** The id of the last message of its stream: a message that was published again has the same. */
  lastMessageId: string | undefined
  /** What is still to be handed to the client, in order. */
  readonly inbox: Array<FromServerEncoded> = []
  outcome: Exit.Exit<void, RpcClientError> | undefined
  #wake: (() => void) | undefined

  constructor(id: string, clientId: number, body: Uint8Array, startedAt: number) {
    this.id = id
    this.clientId = clientId
    this.body = body
    this.startedAt = startedAt
  }

  wake(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  /** Waits for something to do. */
  readonly next: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (this.outcome !== undefined || this.inbox.length > 0) return resume(Effect.void)
    this.#wake = () => resume(Effect.void)
  })
}

/** All calls of a client. */
export class Calls {
  readonly #all = new Map<string, Call>()
  /** Those that have a deadline, in the order in which they were made. */
  readonly #awaiting = new Set<Call>()

  get(id: string): Call | undefined {
    return this.#all.get(id)
  }

  all(): ReadonlyArray<Call> {
    return Array.from(this.#all.values())
  }

  get size(): number {
    return this.#all.size
  }

  add(call: Call): void {
    this.#all.set(call.id, call)
    this.#awaiting.add(call)
  }

  /** The call that was made first of those that have a deadline. */
  get oldest(): Call | undefined {
    for (const call of this.#awaiting) return call
    return undefined
  }

  /** Hears that something came of a stream, which has no deadline from then on. */
  streams(call: Call): void {
    call.isStreaming = true
    this.#awaiting.delete(call)
  }

  /** Ends a call; what comes of it later is nobody's. Returns `false` if it has ended before. */
  settle(call: Call, outcome: Exit.Exit<void, RpcClientError>): boolean {
    if (call.outcome !== undefined) return false
    call.outcome = outcome
    this.#awaiting.delete(call)
    if (this.#all.get(call.id) === call) this.#all.delete(call.id)
    call.wake()
    return true
  }
}

/**
 * The calls that a server has, by their clients. Plain synchronous code: it runs a few times per call.
 */
import type { Delivery } from "effect-amqp/AmqpDelivery"
import * as Effect from "effect/Effect"

/** What becomes of the request of a call; an answer is sent first, and waited for. */
export type Fate = "ack" | "giveBack" | { readonly answer: Uint8Array }

/** A call whose handler runs. */
export class Running {
  readonly client: Client
  readonly requestId: string | number
  readonly delivery: Delivery
  readonly #onFinished: () => void
  /** Its request is acknowledged: it goes to no other server, and its client knows it by this control queue. */
  server: string | undefined
  /** Nobody wants its answer any more. */
  isStopped = false
  /** It must not be repeated, and may have been handled before. */
  isRefused = false
  #fate: Fate | undefined
  #wake: ((fate: Fate) => void) | undefined

  constructor(client: Client, requestId: string | number, delivery: Delivery, onFinished: () => void) {
    this.client = client
    this.requestId = requestId
    this.delivery = delivery
    this.#onFinished = onFinished
  }

  get correlationId(): string {
    return this.delivery.properties.correlationId ?? String(this.requestId)
  }

  get isHeld(): boolean {
    return this.server !== undefined
  }

  hold(server: string): void {
    this.server = server
  }

  get acknowledge(): Effect.Effect<boolean> {
    return this.delivery.ack()
  }

  /** Ends the call; the first fate is its fate. */
  finish(fate: Fate): void {
    if (this.#fate !== undefined) return
    this.#fate = fate
    this.#onFinished()
    this.#wake?.(fate)
  }

  /** Waits for the fate of the request. */
  readonly finished: Effect.Effect<Fate> = Effect.callback((resume) => {
    if (this.#fate !== undefined) return resume(Effect.succeed(this.#fate))
    this.#wake = (fate) => resume(Effect.succeed(fate))
  })
}

/** A client, which is its reply queue. */
export class Client {
  readonly id: number
  readonly replyTo: string
  readonly calls = new Map<string, Running>()
  readonly #onFinished: () => void

  constructor(id: number, replyTo: string, onFinished: () => void) {
    this.id = id
    this.replyTo = replyTo
    this.#onFinished = onFinished
  }

  /** Begins a call, unless it is running already. */
  begin(requestId: string | number, delivery: Delivery): Running | undefined {
    const key = String(requestId)
    if (this.calls.has(key)) return undefined
    const call: Running = new Running(this, requestId, delivery, () => {
      if (this.calls.get(key) === call) this.calls.delete(key)
      this.#onFinished()
    })
    this.calls.set(key, call)
    return call
  }
}

/** All clients that a server knows. */
export class Clients {
  readonly #byReplyTo = new Map<string, Client>()
  readonly #byId = new Map<number, Client>()
  #nextId = 0
  #onIdle: (() => void) | undefined

  of(replyTo: string): Client {
    let client = this.#byReplyTo.get(replyTo)
    if (client === undefined) {
      client = new Client(this.#nextId++, replyTo, () => {
        if (this.#onIdle !== undefined && this.calls().length === 0) this.#onIdle()
      })
      this.#byReplyTo.set(replyTo, client)
      this.#byId.set(client.id, client)
    }
    return client
  }

  /** Tells that a call of a client runs, if it is known by its id. */
  isRunning(replyTo: string, id: string | undefined): boolean {
    return id !== undefined && this.#byReplyTo.get(replyTo)?.calls.has(id) === true
  }

  byId(id: number): Client | undefined {
    return this.#byId.get(id)
  }

  ids(): ReadonlySet<number> {
    return new Set(this.#byId.keys())
  }

  all(): ReadonlyArray<Client> {
    return Array.from(this.#byId.values())
  }

  calls(): ReadonlyArray<Running> {
    return this.all().flatMap(({ calls }) => Array.from(calls.values()))
  }

  remove(client: Client): boolean {
    if (this.#byId.get(client.id) !== client) return false
    this.#byId.delete(client.id)
    this.#byReplyTo.delete(client.replyTo)
    return true
  }

  /** Waits until no call runs. */
  readonly idle: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (this.calls().length === 0) return resume(Effect.void)
    this.#onIdle = () => {
      this.#onIdle = undefined
      resume(Effect.void)
    }
    return Effect.sync(() => {
      this.#onIdle = undefined
    })
  })
}

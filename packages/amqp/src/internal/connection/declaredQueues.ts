/**
 * The queues that topologies have declared on one session: how each is declared again, and the names that the broker
 * chose for those without one.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { AmqpError } from "../../AmqpError.ts"
import { queueTypeOf } from "../named.ts"

type Declared =
  | { readonly _tag: "Queue"; readonly name: string }
  | { readonly _tag: "ServerNamedQueue"; readonly label: string }

interface Declaration {
  readonly declare: Effect.Effect<void, AmqpError>
  /** The `x-queue-type`, where the value has one. */
  readonly type: string | undefined
}

type NameListener = (name: string) => Effect.Effect<void>

const keyOf = (queue: Declared): string =>
  queue._tag === "Queue" ? `Queue ${queue.name}` : `ServerNamedQueue ${queue.label}`

/** Adds to the set of a key until the scope ends. */
const addTo = <A>(sets: Map<string, Set<A>>, key: string, value: A): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const set = sets.get(key) ?? new Set()
      sets.set(key, set.add(value))
    }),
    () => Effect.sync(() => sets.get(key)?.delete(value))
  )

/** The declared queues of one session. */
export class DeclaredQueues {
  readonly #names = new Map<string, string>()
  readonly #listeners = new Map<string, Set<NameListener>>()
  readonly #declarations = new Map<string, Set<Declaration>>()

  /** Returns the name that the broker chose for the queue of a label. */
  nameOf(label: string): string | undefined {
    return this.#names.get(label)
  }

  /** Notes the name that the broker chose, and tells who follows it. */
  name(label: string, name: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#names.set(label, name)
      return Effect.forEach(this.#listeners.get(label) ?? [], (listener) => listener(name), { discard: true })
    })
  }

  /** Forgets a name, so that the next declaration asks for another. */
  forgetName(label: string): void {
    this.#names.delete(label)
  }

  /** Tells every name that the broker chooses for a label from now on. */
  onName(label: string, listener: NameListener): Effect.Effect<void, never, Scope.Scope> {
    return addTo(this.#listeners, label, listener)
  }

  /** Notes how a queue is declared again, until the scope ends. */
  remember(queue: Declared, declare: Effect.Effect<void, AmqpError>): Effect.Effect<void, never, Scope.Scope> {
    const type = queue._tag === "Queue" ? queueTypeOf(queue) : undefined
    return addTo(this.#declarations, keyOf(queue), { declare, type })
  }

  /** Lists how a queue is declared again: once for each topology that has it. */
  declarationsOf(queue: Declared): ReadonlyArray<Declaration> {
    return Array.from(this.#declarations.get(keyOf(queue)) ?? [])
  }
}

/**
 * From handlers by type or by routing key to the one handler of a queue.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { Delivery } from "../../AmqpDelivery.ts"

/**
 * No handler is for the message. It is refused for good and not tried again, unless a policy that is a function decides
 * otherwise.
 *
 * @category errors
 * @since 0.2.0
 */
export class UnroutedDelivery extends Data.TaggedError("UnroutedDelivery")<{
  readonly queue: string
  readonly messageId: string | undefined
  readonly by: "type" | "routing key"
  readonly value: string | undefined
  readonly known: ReadonlyArray<string>
}> {
  override get message(): string {
    const value = this.value === undefined ? `no ${this.by}` : `the ${this.by} "${this.value}"`
    return `message ${
      this.messageId ?? "without an id"
    } of "${this.queue}" has ${value}, for which there is no handler; ` +
      `there are handlers for ${this.known.map((known) => `"${known}"`).join(", ") || "nothing"}`
  }
}

/**
 * Handlers of the messages of a queue, by their type or by patterns of their routing keys.
 *
 * @category models
 * @since 0.2.0
 */
export interface Handlers<E, R> {
  readonly [of: string]: (delivery: Delivery) => Effect.Effect<unknown, E, R>
}

/**
 * The errors of handlers.
 *
 * @category models
 * @since 0.2.0
 */
export type HandlersError<H> = {
  readonly [K in keyof H]: H[K] extends (delivery: Delivery) => Effect.Effect<infer _A, infer E, infer _R> ? E : never
}[keyof H]

/**
 * The services that handlers need.
 *
 * @category models
 * @since 0.2.0
 */
export type HandlersContext<H> = {
  readonly [K in keyof H]: H[K] extends (delivery: Delivery) => Effect.Effect<infer _A, infer _E, infer R> ? R : never
}[keyof H]

/** The one handler of a queue. */
export type Routed<H> = (
  delivery: Delivery
) => Effect.Effect<unknown, HandlersError<H> | UnroutedDelivery, HandlersContext<H>>

type AnyHandler = Handlers<unknown, unknown>[string]

const unrouted = (
  { messageId, queue }: Delivery,
  by: UnroutedDelivery["by"],
  value: string | undefined,
  known: ReadonlyArray<string>
): Effect.Effect<never, UnroutedDelivery> => Effect.fail(new UnroutedDelivery({ queue, messageId, by, value, known }))

/** Hands a message to the handler of its type. */
export const byType = <H extends Handlers<unknown, unknown>>(handlers: H): Routed<H> => {
  const known = new Map<string, AnyHandler>(Object.entries(handlers))
  const route = (delivery: Delivery) => {
    const { type } = delivery.properties
    return (type === undefined ? undefined : known.get(type))?.(delivery) ??
      unrouted(delivery, "type", type, Array.from(known.keys()))
  }
  return route as Routed<H>
}

/** Tells if words match a pattern of a topic exchange: `*` is one word, `#` any number of them. */
const matches = (pattern: ReadonlyArray<string>, words: ReadonlyArray<string>, at = 0, from = 0): boolean => {
  if (at === pattern.length) return from === words.length
  if (pattern[at] !== "#") {
    return from < words.length && (pattern[at] === "*" || pattern[at] === words[from]) &&
      matches(pattern, words, at + 1, from + 1)
  }
  for (let next = from; next <= words.length; next++) if (matches(pattern, words, at + 1, next)) return true
  return false
}

/** Hands a message to the first handler whose pattern matches its routing key. */
export const byRoutingKey = <H extends Handlers<unknown, unknown>>(handlers: H): Routed<H> => {
  const patterns = Object.entries(handlers).map(([pattern, handler]) => ({ words: pattern.split("."), handler }))
  const route = (delivery: Delivery) => {
    const words = delivery.routingKey.split(".")
    const found: AnyHandler | undefined = patterns.find((pattern) => matches(pattern.words, words))?.handler
    return found?.(delivery) ?? unrouted(delivery, "routing key", delivery.routingKey, Object.keys(handlers))
  }
  return route as Routed<H>
}

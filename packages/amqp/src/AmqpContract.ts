/**
 * Contracts: one value for both ends of a message. It names the type, the schema of the payload, the exchange, the
 * routing key and the version, and both the publisher and the consumer take them from it.
 *
 * On the wire the property `type` is the contract's name, the content type is the codec's, the header
 * `x-schema-version` is the version (absent means 1), and the body is what the codec makes. Any language can send and
 * read that; nothing of Effect is visible.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { AmqpConnection } from "./AmqpConnection.ts"
import type { Consumer, Source } from "./AmqpConsumer.ts"
import * as AmqpConsumer from "./AmqpConsumer.ts"
import type { Delivery } from "./AmqpDelivery.ts"
import { AmqpError, InvalidConfiguration } from "./AmqpError.ts"
import type { Message, MessageProperties } from "./AmqpMessage.ts"
import { AmqpPublisher } from "./AmqpPublisher.ts"
import * as AmqpTopology from "./AmqpTopology.ts"
import * as Codecs from "./Codec.ts"
import type { Codec } from "./Codec.ts"
import type { Options } from "./internal/contract/consuming.ts"
import { prepared } from "./internal/contract/consuming.ts"
import type { Any, Contract } from "./internal/contract/contract.ts"
import { problemOf, versionHeader } from "./internal/contract/contract.ts"
import * as KeyTemplate from "./internal/contract/keyTemplate.ts"
import type { Templated } from "./internal/wire/destination.ts"
import { keyTemplate } from "./internal/wire/destination.ts"
import { InvalidMessage, PublishError } from "./PublishError.ts"

export type { Options } from "./internal/contract/consuming.ts"
export { type Any, type Contract, UnknownMessage, versionHeader } from "./internal/contract/contract.ts"

export {
  /** @category codecs @since 0.2.0 */
  bytes,
  /** @category codecs @since 0.2.0 */
  cloudEvents,
  /** @category codecs @since 0.2.0 */
  gzip,
  /** @category codecs @since 0.2.0 */
  json,
  /** @category codecs @since 0.2.0 */
  schemaBinary
} from "./Codec.ts"

/** The schemas of earlier versions, by their number. Each decodes to the present type. */
type Earlier<A> = Readonly<Record<number, Schema.Constraint & { readonly Type: A }>>

type EarlierServicesOf<Accepts> = {
  [Version in keyof Accepts]: Accepts[Version] extends Schema.Constraint ? Accepts[Version]["DecodingServices"] : never
}[keyof Accepts]

/** The names in the braces of a template. */
type Fields<Key extends string> = Key extends `${string}{${infer Name}}${infer Rest}` ? Name | Fields<Rest> : never

/** Refuses templates whose fields the payload lacks, or has as what is no part of a key. */
type KeyOf<Payload, Key extends string> = Key extends `${string}${"*" | "#"}${string}`
  ? { readonly key: "a key is no pattern: it has no * and no #" }
  : [Fields<Key>] extends [never] ? unknown
  : [Payload] extends [{ readonly [Name in Fields<Key>]: string | number }] ? unknown
  : { readonly key: `the payload has no string or number "${Fields<Key>}" in every case` }

/**
 * Makes a contract. A contract is a plain value: it opens nothing and declares nothing.
 *
 * @example
 * ```ts
 * import { Schema } from "effect"
 * import { AmqpContract, AmqpTopology } from "effect-amqp"
 *
 * const orders = AmqpTopology.exchange("orders", { type: "topic" })
 *
 * const OrderPaid = AmqpContract.make("order.paid", {
 *   payload: Schema.Struct({ id: Schema.Number, cents: Schema.Int }),
 *   exchange: orders,
 *   key: "order.{id}.paid"
 * })
 * ```
 * @category constructors
 * @since 0.2.0
 */
export const make = <
  const Type extends string,
  Payload extends Schema.Constraint,
  const Key extends string,
  const Accepts extends Earlier<Payload["Type"]> = {}
>(
  type: Type,
  options: {
    /** The schema of the payload; its wire form is the codec's. */
    readonly payload: Payload
    readonly exchange: AmqpTopology.Exchange
    /** The routing key: plain, or with fields of the payload that are strings or numbers in braces. */
    readonly key: Key
    /** A whole number of 1 or more. Defaults to 1. */
    readonly version?: number | undefined
    /** Schemas that decode earlier versions to the present type. Defaults to none. */
    readonly accepts?: Accepts | undefined
    /** Defaults to {@link json}. */
    readonly codec?: Codec | undefined
    /** Stands in the AsyncAPI document. */
    readonly description?: string | undefined
  } & KeyOf<Payload["Type"], Key>
): Contract<Type, Payload, Key, EarlierServicesOf<Accepts>> => {
  const version = options.version ?? 1
  const versions = new Map<number, Schema.Constraint>(
    Object.entries(options.accepts ?? {}).map(([earlier, schema]) => [Number(earlier), schema])
  )
  const problem = problemOf(type, options.key, version, versions)
  return {
    type,
    version,
    payload: options.payload,
    exchange: options.exchange,
    key: options.key,
    bindingKey: KeyTemplate.pattern(options.key),
    codec: options.codec ?? Codecs.json,
    description: options.description,
    versions: versions.set(version, options.payload),
    problem
  }
}

/**
 * The properties that a contract leaves to the publisher.
 *
 * @category models
 * @since 0.2.0
 */
export type Properties = Omit<MessageProperties, "contentType" | "contentEncoding" | "type">

// The prefix tells processes apart, the counter messages.
const idPrefix = Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString("base64url")
let ids = 0

const invalidMessage = (messageId: string | undefined, field: string, detail: string): PublishError =>
  new PublishError({ messageId, reason: new InvalidMessage({ published: "no", field, detail }) })

/**
 * Makes the message of a payload, for `publisher.publish`, `publishAll`, `sink`, or an outbox. Fails with a
 * `PublishError` whose reason is `EncodeError` when the schema refuses the payload, and `InvalidMessage` when a field
 * cannot stand in the routing key: when it is empty, or has a `.`, `*` or `#`, or makes a key of more than 255 bytes.
 *
 * @category publishing
 * @since 0.2.0
 */
export const message = <Type extends string, Payload extends Schema.Constraint, Key extends string, EarlierServices>(
  contract: Contract<Type, Payload, Key, EarlierServices>,
  payload: Payload["Type"],
  properties: Properties = {}
): Effect.Effect<Message, PublishError, Payload["EncodingServices"]> =>
  Effect.suspend(() => {
    const { codec, exchange, key, type, version } = contract
    if (contract.problem !== undefined) {
      return Effect.fail(invalidMessage(properties.messageId, "contract", contract.problem))
    }
    const routingKey = KeyTemplate.fill(key, payload)
    if (typeof routingKey !== "string") {
      return Effect.fail(invalidMessage(properties.messageId, "routingKey", routingKey.problem))
    }
    const messageId = properties.messageId ??
      (codec.needsMessageId ? idPrefix + (++ids).toString(36) : undefined)
    return Effect.map(
      Codecs.encodeWith(
        codec,
        codec.encoder(contract.payload),
        payload,
        { type, messageId: messageId ?? "" },
        messageId
      ),
      (encoded): Message & Templated => ({
        ...properties,
        exchange,
        routingKey,
        type,
        messageId,
        headers: { ...properties.headers, [versionHeader]: version },
        [keyTemplate]: key,
        ...encoded
      })
    )
  })

/**
 * Publishes a payload by its contract, and waits for the confirm as `publisher.publish` does. Fails with `PublishError`
 * and nothing else, see {@link message} and `AmqpPublisher`.
 *
 * @example
 * ```ts
 * import { Schema } from "effect"
 * import { AmqpContract, AmqpTopology } from "effect-amqp"
 *
 * const OrderPaid = AmqpContract.make("order.paid", {
 *   payload: Schema.Struct({ id: Schema.Number, cents: Schema.Int }),
 *   exchange: AmqpTopology.exchange("orders", { type: "topic" }),
 *   key: "order.{id}.paid"
 * })
 *
 * const program = AmqpContract.publish(OrderPaid, { id: 42, cents: 1250 })
 * ```
 * @category publishing
 * @since 0.2.0
 */
export const publish = <Type extends string, Payload extends Schema.Constraint, Key extends string, EarlierServices>(
  contract: Contract<Type, Payload, Key, EarlierServices>,
  payload: Payload["Type"],
  properties?: Properties
): Effect.Effect<void, PublishError, AmqpPublisher | Payload["EncodingServices"]> =>
  Effect.flatMap(
    AmqpPublisher,
    (publisher) => Effect.flatMap(message(contract, payload, properties), publisher.publish)
  )

/** The handler of each contract, by its type. */
type Handlers<Contracts extends Any> = {
  readonly [Type in Contracts["type"]]: (
    payload: Extract<Contracts, { readonly type: Type }>["payload"]["Type"],
    delivery: Delivery
  ) => Effect.Effect<unknown, unknown, unknown>
}

type ErrorsOf<H> = {
  [Type in keyof H]: H[Type] extends (...args: Array<never>) => Effect.Effect<unknown, infer E, unknown> ? E : never
}[keyof H]

type ServicesOf<H> = {
  [Type in keyof H]: H[Type] extends (...args: Array<never>) => Effect.Effect<unknown, unknown, infer R> ? R : never
}[keyof H]

type DecodingServicesOf<C> = C extends Contract<string, infer Payload, string, infer EarlierServices>
  ? Payload["DecodingServices"] | (unknown extends EarlierServices ? never : EarlierServices)
  : never

type Needs<Contracts extends Any, H> =
  | AmqpConnection
  | Exclude<ServicesOf<H> | DecodingServicesOf<Contracts>, Scope.Scope>

/** Refuses handlers of types that no contract has. */
type NoMore<H, Contracts extends Any> = { readonly [Type in Exclude<keyof H, Contracts["type"]>]: never }

/**
 * Makes a consumer of a queue on which several types of message arrive, as `AmqpConsumer.make` does. There is a handler
 * for each contract: one that is missing does not compile, nor does one too many.
 *
 * Fails as `AmqpConsumer.make` does, and with `InvalidConfiguration` when two contracts have the same type.
 *
 * @category consuming
 * @since 0.2.0
 */
export const makeConsumer = <const Contracts extends Any, H extends Handlers<Contracts>>(
  queue: Source,
  contracts: ReadonlyArray<Contracts>,
  handlers: H & NoMore<H, Contracts>,
  options: Options<ErrorsOf<H>> = {}
): Effect.Effect<Consumer, AmqpError, Needs<Contracts, H> | Scope.Scope> =>
  prepared(
    contracts,
    handlers,
    options as Options<unknown>,
    (handler, consumerOptions) => AmqpConsumer.make(queue, handler, consumerOptions)
  ) as Effect.Effect<
    Consumer,
    AmqpError,
    Needs<Contracts, H> | Scope.Scope
  >

/**
 * Consumes by contracts until interrupted, as `AmqpConsumer.run` does; otherwise as {@link makeConsumer}.
 *
 * @category consuming
 * @since 0.2.0
 */
export const run = <const Contracts extends Any, H extends Handlers<Contracts>>(
  queue: Source,
  contracts: ReadonlyArray<Contracts>,
  handlers: H & NoMore<H, Contracts>,
  options: Options<ErrorsOf<H>> = {}
): Effect.Effect<never, AmqpError, Needs<Contracts, H>> =>
  prepared(
    contracts,
    handlers,
    options as Options<unknown>,
    (handler, consumerOptions) => AmqpConsumer.run(queue, handler, consumerOptions)
  ) as Effect.Effect<never, AmqpError, Needs<Contracts, H>>

/**
 * Makes a layer that consumes by contracts, as `AmqpConsumer.layer` does; otherwise as {@link makeConsumer}.
 *
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { AmqpContract, AmqpTopology } from "effect-amqp"
 *
 * const orders = AmqpTopology.exchange("orders", { type: "topic" })
 * const invoices = AmqpTopology.queue("invoices", { type: "quorum" })
 * const payload = Schema.Struct({ id: Schema.Number })
 * const OrderPaid = AmqpContract.make("order.paid", { payload, exchange: orders, key: "order.{id}.paid" })
 * const OrderCancelled = AmqpContract.make("order.cancelled", {
 *   payload,
 *   exchange: orders,
 *   key: "order.{id}.cancelled"
 * })
 *
 * const Worker = AmqpContract.layer(invoices, [OrderPaid, OrderCancelled], {
 *   "order.paid": (order) => Effect.log(`invoice for order ${order.id}`),
 *   "order.cancelled": (order) => Effect.log(`no invoice for order ${order.id}`)
 * }, { concurrency: 10 })
 * ```
 * @category consuming
 * @since 0.2.0
 */
export const layer = <const Contracts extends Any, H extends Handlers<Contracts>>(
  queue: Source,
  contracts: ReadonlyArray<Contracts>,
  handlers: H & NoMore<H, Contracts>,
  options: Options<ErrorsOf<H>> = {}
): Layer.Layer<never, AmqpError, Needs<Contracts, H>> =>
  Layer.effectDiscard(makeConsumer<Contracts, H>(queue, contracts, handlers, options)) as Layer.Layer<
    never,
    AmqpError,
    Needs<Contracts, H>
  >

/**
 * Makes the topology of a queue that gets the messages of contracts: the queue, their exchanges, and a binding for each
 * key. A template binds its fields as `*`; a fanout exchange has no use for keys.
 *
 * Throws an `AmqpError` with `InvalidConfiguration` when an exchange cannot bind a template: a direct exchange matches
 * whole keys, and a headers exchange none.
 *
 * @category topology
 * @since 0.2.0
 */
export const topology = (
  queue: AmqpTopology.Queue,
  contracts: ReadonlyArray<Any>
): AmqpTopology.Topology =>
  AmqpTopology.make(
    queue,
    ...contracts.flatMap((contract) => [
      contract.exchange,
      AmqpTopology.bind(queue, contract.exchange, bindingKeyOf(contract))
    ])
  )

const bindingKeyOf = ({ bindingKey, exchange, key, type }: Any): string => {
  if (exchange.type === "fanout") return ""
  if (exchange.type === "headers" || (exchange.type === "direct" && bindingKey !== key)) {
    throw new AmqpError({
      operation: "topology",
      reason: new InvalidConfiguration({
        option: "contracts",
        detail: `the ${exchange.type} exchange "${exchange.name}" of "${type}" cannot bind the key "${key}"; ` +
          "use a topic exchange, or bind the queue yourself"
      })
    })
  }
  return bindingKey
}

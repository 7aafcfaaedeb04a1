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
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { AmqpConnection } from "./AmqpConnection.ts"
import type { Consumer, FailureOutcome, HandlerTimeout, Options as ConsumerOptions, Source } from "./AmqpConsumer.ts"
import * as AmqpConsumer from "./AmqpConsumer.ts"
import type { DecodeError, Delivery } from "./AmqpDelivery.ts"
import { AmqpError, InvalidConfiguration } from "./AmqpError.ts"
import type { Message, MessageProperties } from "./AmqpMessage.ts"
import { AmqpPublisher } from "./AmqpPublisher.ts"
import * as AmqpTopology from "./AmqpTopology.ts"
import * as Codecs from "./Codec.ts"
import type { Codec } from "./Codec.ts"
import * as KeyTemplate from "./internal/contract/keyTemplate.ts"
import type { Templated } from "./internal/wire/destination.ts"
import { keyTemplate } from "./internal/wire/destination.ts"
import { InvalidMessage, PublishError } from "./PublishError.ts"

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

/**
 * The header that carries the version of a message's schema. A message without it has version 1.
 *
 * @category constants
 * @since 0.2.0
 */
export const versionHeader = "x-schema-version"

/** The schemas of earlier versions, by their number. Each decodes to the present type. */
type Earlier<A> = Readonly<Record<number, Schema.Constraint & { readonly Type: A }>>

/**
 * A contract, see {@link make}. `EarlierServices` is what decoding the earlier versions needs.
 *
 * @category models
 * @since 0.2.0
 */
export interface Contract<
  out Type extends string,
  out Payload extends Schema.Constraint,
  out Key extends string = string,
  out EarlierServices = unknown
> {
  readonly type: Type
  readonly version: number
  readonly payload: Payload
  readonly exchange: AmqpTopology.Exchange
  /** The template of the routing key: fields of the payload stand in braces. */
  readonly key: Key
  /** The key with `*` for each field, as a topic exchange binds it. */
  readonly bindingKey: string
  readonly codec: Codec
  readonly description: string | undefined
  /** The schema of each version that is read, the present one included. */
  readonly versions: ReadonlyMap<number, Schema.Constraint>
  /** What is wrong with the contract; every use of it fails with this sentence. */
  readonly problem: string | undefined
  readonly "~EarlierServices"?: EarlierServices
}

/**
 * Any contract.
 *
 * @category models
 * @since 0.2.0
 */
export interface Any extends Contract<string, Schema.Constraint> {}

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

const problemOf = (
  type: string,
  key: string,
  version: number,
  earlier: ReadonlyMap<number, Schema.Constraint>
): string | undefined => {
  if (type === "" || Buffer.byteLength(type) > 255) return `the type "${type}" has to have 1 to 255 bytes`
  if (!Number.isSafeInteger(version) || version < 1) {
    return `the version of "${type}" is ${version}; it is a whole number of 1 or more`
  }
  for (const number of earlier.keys()) {
    if (!Number.isSafeInteger(number) || number < 1) {
      return `"${type}" accepts the version ${number}; a version is a whole number of 1 or more`
    }
    if (number === version) return `"${type}" accepts the version ${number}, which is its own`
  }
  const refused = KeyTemplate.problem(key)
  return refused === undefined ? undefined : `the key "${key}" of "${type}" ${refused}`
}

/**
 * A message whose type or version no contract of the consumer knows. By default it is dead-lettered.
 *
 * @category errors
 * @since 0.2.0
 */
export class UnknownMessage extends Data.TaggedError("UnknownMessage")<{
  readonly queue: string
  readonly messageId: string | undefined
  readonly type: string | undefined
  /** The header `x-schema-version` as it came; 1 where it is absent. */
  readonly version: unknown
  /** The types that the consumer knows or, where the type is known, its versions. */
  readonly known: ReadonlyArray<string | number>
}> {
  override get message(): string {
    const known = this.known.join(", ")
    const what = `message ${this.messageId ?? "without an id"} of "${this.queue}"`
    if (this.type === undefined) return `${what} has no property "type"; this consumer knows ${known}`
    return this.known.length > 0 && typeof this.known[0] === "number"
      ? `${what} has version ${String(this.version)} of the type "${this.type}"; this consumer knows ${known}`
      : `${what} has the type "${this.type}"; this consumer knows ${known}`
  }
}

/** The properties that a contract leaves to the publisher. */
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
 * yield* AmqpContract.publish(OrderPaid, { id: 42, cents: 1250 })
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

/** What can keep a handler from being run. */
type Unhandled = DecodeError | UnknownMessage

/**
 * How to consume; as `AmqpConsumer.Options`.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options<E> extends Omit<ConsumerOptions<E | DecodeError | UnknownMessage>, "onFailure"> {
  /**
   * What happens to a message whose handler failed. An outcome counts for failed handlers only: messages of an unknown
   * type or version, and those that cannot be decoded, are dead-lettered. A function is asked for those too. Defaults to
   * `deadLetter`.
   */
  readonly onFailure?:
    | FailureOutcome
    | ((error: E | DecodeError | UnknownMessage | HandlerTimeout, delivery: Delivery) => FailureOutcome)
    | undefined
}

type Needs<Contracts extends Any, H> =
  | AmqpConnection
  | Exclude<ServicesOf<H> | DecodingServicesOf<Contracts>, Scope.Scope>

/** Refuses handlers of types that no contract has. */
type NoMore<H, Contracts extends Any> = { readonly [Type in Exclude<keyof H, Contracts["type"]>]: never }

const checkContracts = (contracts: ReadonlyArray<Any>): Effect.Effect<ReadonlyMap<string, Any>, AmqpError> => {
  const byType = new Map<string, Any>()
  const invalid = (detail: string) =>
    new AmqpError({ operation: "consume", reason: new InvalidConfiguration({ option: "contracts", detail }) })
  for (const contract of contracts) {
    if (contract.problem !== undefined) return Effect.fail(invalid(contract.problem))
    if (byType.has(contract.type)) {
      return Effect.fail(
        invalid(
          `two contracts have the type "${contract.type}", and a message could not tell which of them it follows; ` +
            "make one contract with two versions"
        )
      )
    }
    byType.set(contract.type, contract)
  }
  return byType.size === 0
    ? Effect.fail(invalid("the list is empty; name at least one contract"))
    : Effect.succeed(byType)
}

type AnyHandler = (payload: unknown, delivery: Delivery) => Effect.Effect<unknown, unknown, unknown>

/** Finds the contract of a delivery and decodes its payload, before the handler of its type is run. */
const dispatch = (
  contracts: ReadonlyMap<string, Any>,
  handlers: Readonly<Record<string, AnyHandler>>
) =>
(delivery: Delivery): Effect.Effect<unknown, unknown, unknown> => {
  const type = delivery.properties.type
  const contract = type === undefined ? undefined : contracts.get(type)
  const version = delivery.headers[versionHeader] ?? 1
  const schema = contract?.versions.get(version as number)
  if (contract === undefined || schema === undefined) {
    return Effect.fail(
      new UnknownMessage({
        queue: delivery.queue,
        messageId: delivery.messageId,
        type,
        version,
        known: contract === undefined ? Array.from(contracts.keys()) : Array.from(contract.versions.keys())
      })
    )
  }
  const handle = handlers[contract.type]!
  return Effect.flatMap(delivery.decode(contract.codec, schema), (payload) => handle(payload, delivery))
}

const isUnhandled = (error: unknown): error is Unhandled =>
  typeof error === "object" && error !== null && "_tag" in error &&
  (error._tag === "UnknownMessage" || error._tag === "DecodeError")

const policy = <E>(onFailure: Options<E>["onFailure"]): ConsumerOptions<E | Unhandled>["onFailure"] =>
  typeof onFailure === "object" || onFailure === "requeue"
    ? (error) => isUnhandled(error) ? "deadLetter" : onFailure
    : onFailure

/** The consumer of a queue's contracts: the handler and options that `AmqpConsumer` takes. */
const prepared = <A, Error, R>(
  contracts: ReadonlyArray<Any>,
  handlers: object,
  options: Options<unknown>,
  use: (
    handler: (delivery: Delivery) => Effect.Effect<unknown, unknown, R>,
    options: ConsumerOptions<unknown>
  ) => Effect.Effect<A, AmqpError, Error>
): Effect.Effect<A, AmqpError, Error> =>
  Effect.flatMap(checkContracts(contracts), (byType) =>
    use(
      dispatch(byType, handlers as Readonly<Record<string, AnyHandler>>) as never,
      {
        ...options,
        onFailure: policy(options.onFailure),
        [keyTemplate]: ({ properties: { type } }: Delivery) => type === undefined ? undefined : byType.get(type)?.key
      } as ConsumerOptions<unknown>
    ))

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
 * const Worker = AmqpContract.layer(invoices, [OrderPaid, OrderCancelled], {
 *   "order.paid": (order) => Invoices.create(order),
 *   "order.cancelled": (order) => Invoices.cancel(order.id)
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

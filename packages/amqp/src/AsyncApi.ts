/**
 * AsyncAPI documents made of contracts: what a program sends and receives, for people and for tools of any language.
 *
 * @see https://www.asyncapi.com/docs/reference/specification/v3.1.0
 * @see https://github.com/asyncapi/bindings/tree/master/amqp
 * @since 0.2.0
 */
import * as JsonSchema from "effect/JsonSchema"
import * as Schema from "effect/Schema"
import { versionHeader } from "./AmqpContract.ts"
import type { Any as Contract } from "./AmqpContract.ts"
import type { Exchange, Queue } from "./AmqpTopology.ts"
import * as KeyTemplate from "./internal/contract/keyTemplate.ts"

/**
 * What a program receives from one queue.
 *
 * @category models
 * @since 0.2.0
 */
export interface Receives {
  readonly queue: Queue
  readonly contracts: ReadonlyArray<Contract>
}

/**
 * What the document says.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** The title of the application. */
  readonly title: string
  /** The version of the application's interface, such as `1.0.0`. */
  readonly version: string
  readonly description?: string | undefined
  /** The virtual host of the exchanges and queues. Defaults to `/`. */
  readonly vhost?: string | undefined
  /** The broker, such as `localhost:5672`. Defaults to none. */
  readonly server?: { readonly host: string; readonly protocol: "amqp" | "amqps" } | undefined
  /** The contracts that the application publishes. Defaults to none. */
  readonly sends?: ReadonlyArray<Contract> | undefined
  /** The queues that the application consumes, with their contracts. Defaults to none. */
  readonly receives?: ReadonlyArray<Receives> | undefined
}

/**
 * A JSON value.
 *
 * @category models
 * @since 0.2.0
 */
export type Json = null | boolean | number | string | ReadonlyArray<Json> | { readonly [key: string]: Json }

/**
 * An AsyncAPI 3.1.0 document; write it with `JSON.stringify`.
 *
 * @category models
 * @since 0.2.0
 */
export interface Document {
  readonly asyncapi: "3.1.0"
  readonly info: { readonly title: string; readonly version: string; readonly description?: string }
  readonly servers?: { readonly [name: string]: Json }
  readonly defaultContentType: string
  readonly channels: { readonly [id: string]: Json }
  readonly operations: { readonly [id: string]: Json }
  readonly components: {
    readonly messages: { readonly [id: string]: Json }
    readonly schemas: { readonly [id: string]: Json }
  }
}

const bindingVersion = "0.3.0"
const boundTypes: ReadonlySet<string> = new Set(["topic", "direct", "fanout", "headers"])

/** Ids of AsyncAPI have letters, digits, `.`, `-` and `_`. */
const idOf = (...parts: ReadonlyArray<string>): string => parts.join(".").replace(/[^\w.-]/g, "_")

const moveDefinitions = (schema: unknown): Json =>
  JSON.parse(JSON.stringify(schema), (key, value: unknown) =>
    key === "$ref" && typeof value === "string"
      ? value.replace("#/definitions/", "#/components/schemas/")
      : value)

const exchangeBinding = (exchange: Exchange, vhost: string): { readonly [key: string]: Json } => ({
  is: "routingKey",
  exchange: {
    name: exchange.name,
    ...(boundTypes.has(exchange.type) ? { type: exchange.type } : {}),
    durable: exchange.durable,
    autoDelete: exchange.autoDelete,
    vhost
  },
  bindingVersion
})

/** Collects channels, messages and schemas; each contract stands in it once, however often it is sent and received. */
class Parts {
  readonly channels: Record<string, Json> = {}
  readonly messages: Record<string, Json> = {}
  readonly schemas: Record<string, Json> = {}
  readonly #ids = new Map<Contract, { readonly channel: string; readonly message: string }>()
  readonly #vhost: string

  constructor(vhost: string) {
    this.#vhost = vhost
  }

  add(contract: Contract): { readonly channel: string; readonly message: string } {
    const known = this.#ids.get(contract)
    if (known !== undefined) return known
    const ids = {
      channel: this.#free(contract, this.channels, contract.exchange.name),
      message: this.#free(contract, this.messages)
    }
    this.#ids.set(contract, ids)
    this.messages[ids.message] = this.#message(contract)
    this.channels[ids.channel] = this.#channel(contract, ids.message)
    return ids
  }

  /** Contracts of one type for several exchanges or versions have ids of their own. */
  #free(contract: Contract, taken: Readonly<Record<string, Json>>, ...prefix: ReadonlyArray<string>): string {
    const first = idOf(...prefix, contract.type)
    if (!Object.hasOwn(taken, first)) return first
    let number = 2
    while (Object.hasOwn(taken, `${first}_${number}`)) number++
    return `${first}_${number}`
  }

  #message(contract: Contract): Json {
    const document = JsonSchema.toDocumentDraft07(Schema.toJsonSchemaDocument(contract.payload))
    for (const [name, schema] of Object.entries(document.definitions)) this.schemas[name] = moveDefinitions(schema)
    return {
      name: contract.type,
      ...(contract.description === undefined ? {} : { description: contract.description }),
      contentType: contract.codec.contentType,
      payload: moveDefinitions(document.schema),
      headers: {
        type: "object",
        properties: { [versionHeader]: { type: "integer", const: contract.version } }
      },
      bindings: { amqp: { messageType: contract.type, bindingVersion } }
    }
  }

  #channel(contract: Contract, message: string): Json {
    const { exchange, key } = contract
    const names = KeyTemplate.fields(key)
    return {
      address: key,
      messages: { [message]: { $ref: `#/components/messages/${message}` } },
      ...(names.length === 0 ? {} : {
        parameters: Object.fromEntries(names.map((name) => [name, { location: `$message.payload#/${name}` }]))
      }),
      ...(boundTypes.has(exchange.type) ? {} : { "x-exchange-type": exchange.type }),
      bindings: { amqp: exchangeBinding(exchange, this.#vhost) }
    }
  }
}

const operation = (action: "send" | "receive", ids: { readonly channel: string; readonly message: string }) => ({
  action,
  channel: { $ref: `#/channels/${ids.channel}` },
  messages: [{ $ref: `#/channels/${ids.channel}/messages/${ids.message}` }]
})

/**
 * Makes the AsyncAPI document of a program. Payloads are JSON Schema draft-07, as `Schema.toCodecJson` writes them; the
 * routing key is the channel's address, the queue of a consumer stands under `x-queue`.
 *
 * @example
 * ```ts
 * import { Schema } from "effect"
 * import { AmqpContract, AmqpTopology, AsyncApi } from "effect-amqp"
 *
 * const invoices = AmqpTopology.queue("invoices", { type: "quorum" })
 * const OrderPaid = AmqpContract.make("order.paid", {
 *   payload: Schema.Struct({ id: Schema.Number }),
 *   exchange: AmqpTopology.exchange("orders", { type: "topic" }),
 *   key: "order.{id}.paid"
 * })
 *
 * const document = AsyncApi.make({
 *   title: "Shop",
 *   version: "1.0.0",
 *   sends: [OrderPaid],
 *   receives: [{ queue: invoices, contracts: [OrderPaid] }]
 * })
 * ```
 * @category constructors
 * @since 0.2.0
 */
export const make = (options: Options): Document => {
  const vhost = options.vhost ?? "/"
  const parts = new Parts(vhost)
  const operations: Record<string, Json> = {}
  for (const contract of options.sends ?? []) {
    const ids = parts.add(contract)
    operations[idOf("send", ids.channel)] = {
      ...operation("send", ids),
      bindings: { amqp: { deliveryMode: 2, mandatory: true, bindingVersion } }
    }
  }
  for (const { contracts, queue } of options.receives ?? []) {
    for (const contract of contracts) {
      const ids = parts.add(contract)
      operations[idOf("receive", queue.name, ids.channel)] = {
        ...operation("receive", ids),
        "x-queue": {
          name: queue.name,
          durable: queue.durable,
          exclusive: queue.exclusive,
          autoDelete: queue.autoDelete,
          vhost,
          arguments: moveDefinitions(queue.arguments)
        },
        bindings: { amqp: { ack: true, bindingVersion } }
      }
    }
  }
  return {
    asyncapi: "3.1.0",
    info: {
      title: options.title,
      version: options.version,
      ...(options.description === undefined ? {} : { description: options.description })
    },
    ...(options.server === undefined ? {} : {
      servers: {
        rabbitmq: { host: options.server.host, protocol: options.server.protocol, protocolVersion: "0.9.1" }
      }
    }),
    defaultContentType: "application/json",
    channels: parts.channels,
    operations,
    components: { messages: parts.messages, schemas: parts.schemas }
  }
}

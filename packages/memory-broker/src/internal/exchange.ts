/**
 * Exchanges and their bindings. Each type has an index, so that routing costs what matches and not what is bound.
 */
import type { ExchangeDeclaration } from "effect-amqp/AmqpDriver"
import type { Headers } from "effect-amqp/AmqpMessage"
import { headersMatch, sameValue } from "./headersMatch.ts"
import type { Message } from "./message.ts"
import type { Queue } from "./queue.ts"
import { TopicTrie } from "./topicTrie.ts"

/** The queue or exchange that a binding leads to. */
export type Destination = Queue | Exchange

/** A binding, kept with its source. */
export interface Binding {
  readonly source: Exchange
  readonly destination: Destination
  readonly routingKey: string
  readonly arguments: Headers
}

/** The exchange types that every RabbitMQ has. */
export type ExchangeType = "direct" | "fanout" | "topic" | "headers"

export const isExchangeType = (type: string): type is ExchangeType =>
  type === "direct" || type === "fanout" || type === "topic" || type === "headers"

/** Finds the destinations of a message among the bindings of one exchange. */
interface RoutingIndex {
  readonly add: (binding: Binding) => void
  readonly remove: (binding: Binding) => void
  readonly match: (message: Message, into: Set<Destination>) => void
}

const fanoutIndex = (): RoutingIndex => {
  const counts = new Map<Destination, number>()
  return {
    add: ({ destination }) => void counts.set(destination, (counts.get(destination) ?? 0) + 1),
    remove({ destination }) {
      const count = counts.get(destination) ?? 0
      if (count > 1) counts.set(destination, count - 1)
      else counts.delete(destination)
    },
    match(_message, into) {
      for (const destination of counts.keys()) into.add(destination)
    }
  }
}

const directIndex = (): RoutingIndex => {
  const byKey = new Map<string, RoutingIndex>()
  return {
    add(binding) {
      let index = byKey.get(binding.routingKey)
      if (index === undefined) {
        index = fanoutIndex()
        byKey.set(binding.routingKey, index)
      }
      index.add(binding)
    },
    remove: (binding) => byKey.get(binding.routingKey)?.remove(binding),
    match(message, into) {
      for (const key of message.routingKeys) byKey.get(key)?.match(message, into)
    }
  }
}

const topicIndex = (): RoutingIndex => {
  const trie = new TopicTrie<Destination>()
  return {
    add: (binding) => trie.add(binding.routingKey, binding.destination),
    remove: (binding) => trie.remove(binding.routingKey, binding.destination),
    match(message, into) {
      for (const key of message.routingKeys) trie.match(key, into)
    }
  }
}

const headersIndex = (): RoutingIndex => {
  const bindings = new Set<Binding>()
  return {
    add: (binding) => void bindings.add(binding),
    remove: (binding) => void bindings.delete(binding),
    match(message, into) {
      const headers = message.properties.headers ?? {}
      for (const binding of bindings) {
        if (headersMatch(binding.arguments, headers)) into.add(binding.destination)
      }
    }
  }
}

const makeIndex: Record<ExchangeType, () => RoutingIndex> = {
  direct: directIndex,
  fanout: fanoutIndex,
  topic: topicIndex,
  headers: headersIndex
}

export class Exchange {
  readonly kind = "exchange"
  readonly name: string
  readonly type: ExchangeType
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: Headers
  /** By destination and routing key. Bindings that differ only in arguments share an entry. */
  readonly #bindings = new Map<string, Array<Binding>>()
  readonly #index: RoutingIndex

  constructor(declaration: ExchangeDeclaration, type: ExchangeType) {
    this.name = declaration.exchange
    this.type = type
    this.durable = declaration.durable
    this.autoDelete = declaration.autoDelete
    this.internal = declaration.internal
    this.arguments = declaration.arguments
    this.#index = makeIndex[type]()
  }

  get alternate(): string | undefined {
    const name = this.arguments["alternate-exchange"]
    return typeof name === "string" ? name : undefined
  }

  get isBound(): boolean {
    return this.#bindings.size > 0
  }

  bindings(): ReadonlyArray<Binding> {
    return [...this.#bindings.values()].flat()
  }

  /** Adds a binding, unless it exists. */
  bind(destination: Destination, routingKey: string, args: Headers): void {
    const id = `${destination.kind} ${destination.name} ${routingKey}`
    const same = this.#bindings.get(id)
    if (same?.some((binding) => sameValue(binding.arguments, args)) === true) return
    const binding: Binding = { source: this, destination, routingKey, arguments: args }
    if (same === undefined) this.#bindings.set(id, [binding])
    else same.push(binding)
    this.#index.add(binding)
  }

  has(destination: Destination, routingKey: string, args: Headers): boolean {
    const same = this.#bindings.get(`${destination.kind} ${destination.name} ${routingKey}`) ?? []
    return same.some((binding) => sameValue(binding.arguments, args))
  }

  unbind(destination: Destination, routingKey: string, args: Headers): void {
    const id = `${destination.kind} ${destination.name} ${routingKey}`
    const same = this.#bindings.get(id) ?? []
    const index = same.findIndex((binding) => sameValue(binding.arguments, args))
    const binding = same[index]
    if (binding === undefined) return
    if (same.length === 1) this.#bindings.delete(id)
    else same.splice(index, 1)
    this.#index.remove(binding)
  }

  /** Returns `true` if a binding led there. */
  unbindAll(destination: Destination): boolean {
    let found = false
    for (const binding of this.bindings()) {
      if (binding.destination !== destination) continue
      found = true
      this.unbind(destination, binding.routingKey, binding.arguments)
    }
    return found
  }

  match(message: Message, into: Set<Destination>): void {
    this.#index.match(message, into)
  }
}

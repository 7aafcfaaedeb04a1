/**
 * A virtual host: its exchanges, queues and bindings, and the way of a message through them.
 */
import type { ExchangeDeclaration, QueueDeclaration } from "effect-amqp/AmqpDriver"
import type { Headers, HeaderValue } from "effect-amqp/AmqpMessage"
import type { Dialect } from "./brokerVersion.ts"
import type { Destination } from "./exchange.ts"
import { Exchange, isExchangeType } from "./exchange.ts"
import { isValidMatch } from "./headersMatch.ts"
import type { Message } from "./message.ts"
import { MessageQueue } from "./messageQueue.ts"
import type { Queue, QueueHost } from "./queue.ts"
import { assertSame, assertSameArguments, comparedArguments, readSettings, wireType } from "./queueSettings.ts"
import { accessRefused, commandInvalid, named, notFound, preconditionFailed, resourceLocked } from "./replyFault.ts"
import { StreamQueue } from "./streamQueue.ts"

const predeclared: ReadonlyArray<readonly [string, string]> = [
  ["amq.direct", "direct"],
  ["amq.fanout", "fanout"],
  ["amq.topic", "topic"],
  ["amq.headers", "headers"],
  ["amq.match", "headers"]
]

const assertMatch = (value: HeaderValue | undefined): void => {
  if (value !== undefined && typeof value !== "string") {
    throw preconditionFailed(
      `Invalid x-match field type ${wireType(value)} (value ${String(value)}); expected longstr`
    )
  }
  if (!isValidMatch(value)) {
    throw preconditionFailed(
      `Invalid x-match field value <<"${String(value)}">>; expected all, any, all-with-x, or any-with-x`
    )
  }
}

const isReserved = (name: string): boolean => name.startsWith("amq.")

export class VirtualHost {
  readonly name: string
  readonly exchanges = new Map<string, Exchange>()
  readonly queues = new Map<string, Queue>()
  readonly dialect: Dialect
  /** The virtual host exists, and is not running. */
  isDown = false
  readonly #host: QueueHost
  readonly #now: () => number

  constructor(name: string, dialect: Dialect, host: QueueHost, now: () => number) {
    this.#now = now
    this.name = name
    this.dialect = dialect
    this.#host = host
    for (const [exchange, type] of predeclared) {
      const declaration = { exchange, type, durable: true, autoDelete: false, internal: false, arguments: {} }
      if (isExchangeType(type)) this.exchanges.set(exchange, new Exchange(declaration, type))
    }
  }

  #assertNotDefault(exchange: string): void {
    if (exchange === "") throw accessRefused("operation not permitted on the default exchange")
  }

  exchange(name: string): Exchange {
    const exchange = this.exchanges.get(name)
    if (exchange === undefined) throw notFound(`no ${named("exchange", name, this.name)}`)
    return exchange
  }

  queue(name: string): Queue {
    const queue = this.queues.get(name)
    if (queue === undefined) throw notFound(`no ${named("queue", name, this.name)}`)
    return queue
  }

  /** Finds a queue that a connection may use. A queue that is exclusive to another connection is refused. */
  queueFor(owner: object, name: string): Queue {
    const queue = this.queue(name)
    if (queue.owner !== undefined && queue.owner !== owner) throw resourceLocked(name, this.name)
    return queue
  }

  declareExchange(declaration: ExchangeDeclaration): void {
    const name = declaration.exchange
    this.#assertNotDefault(name)
    const { type } = declaration
    if (!isExchangeType(type)) {
      const text = `unknown exchange type '${type}'`
      throw this.dialect.refusesTypeOnChannel ? preconditionFailed(text) : commandInvalid(text)
    }
    const what = named("exchange", name, this.name)
    const alternate = declaration.arguments["alternate-exchange"]
    if (alternate !== undefined && typeof alternate !== "string") {
      throw preconditionFailed(`invalid type '${wireType(alternate)}' for arg 'alternate-exchange' in ${what}`)
    }
    const existing = this.exchanges.get(name)
    if (existing !== undefined) {
      assertSame(what, "type", type, existing.type)
      assertSame(what, "durable", declaration.durable, existing.durable)
      assertSame(what, "auto_delete", declaration.autoDelete, existing.autoDelete)
      assertSame(what, "internal", declaration.internal, existing.internal)
      assertSameArguments(what, ["alternate-exchange"], declaration.arguments, existing.arguments)
      return
    }
    if (isReserved(name)) throw accessRefused(`exchange name '${name}' contains reserved prefix 'amq.*'`)
    this.exchanges.set(name, new Exchange(declaration, type))
  }

  checkExchange(name: string): void {
    this.#assertNotDefault(name)
    this.exchange(name)
  }

  deleteExchange(name: string, ifUnused: boolean): void {
    this.#assertNotDefault(name)
    if (isReserved(name)) throw accessRefused(`deletion of system ${named("exchange", name, this.name)} not allowed`)
    const exchange = this.exchanges.get(name)
    if (exchange === undefined) return
    if (ifUnused && exchange.isBound) throw preconditionFailed(`${named("exchange", name, this.name)} in use`)
    this.dropExchange(exchange)
  }

  /** Forgets an exchange and every binding from or to it. */
  dropExchange(exchange: Exchange): void {
    this.exchanges.delete(exchange.name)
    this.#unbindEverywhere(exchange)
  }

  #unbindEverywhere(destination: Destination): void {
    for (const source of this.exchanges.values()) {
      if (source.unbindAll(destination)) this.#deleteIfAbandoned(source)
    }
  }

  #deleteIfAbandoned(exchange: Exchange): void {
    if (exchange.autoDelete && !exchange.isBound) this.dropExchange(exchange)
  }

  bind(
    kind: Destination["kind"],
    owner: object,
    destination: string,
    source: string,
    key: string,
    args: Headers
  ): void {
    this.#assertNotDefault(source)
    if (kind === "exchange") this.#assertNotDefault(destination)
    const from = this.exchange(source)
    const to = kind === "queue" ? this.queueFor(owner, destination) : this.exchange(destination)
    if (from.type === "headers") assertMatch(args["x-match"])
    from.bind(to, key, args)
  }

  unbind(
    kind: Destination["kind"],
    owner: object,
    destination: string,
    source: string,
    key: string,
    args: Headers
  ): void {
    this.#assertNotDefault(source)
    const from = this.exchanges.get(source)
    const to = kind === "queue" ? this.queues.get(destination) : this.exchanges.get(destination)
    if (from === undefined || to === undefined || !from.has(to, key, args)) return
    if (to.kind === "queue") this.queueFor(owner, destination)
    from.unbind(to, key, args)
    this.#deleteIfAbandoned(from)
  }

  /** Finds the equivalent queue of that name, or adds it. */
  declareQueue(declaration: QueueDeclaration, owner: object): Queue {
    const name = declaration.queue
    const what = named("queue", name, this.name)
    const existing = this.queues.get(name)
    if (existing !== undefined) {
      if (existing.owner !== (declaration.exclusive ? owner : undefined)) throw resourceLocked(name, this.name)
      assertSame(what, "durable", declaration.durable, existing.durable)
      assertSame(what, "auto_delete", declaration.autoDelete, existing.autoDelete)
      assertSameArguments(what, comparedArguments, declaration.arguments, this.#stored(existing.arguments))
      existing.lastUsedAt = this.#now()
      return existing
    }
    if (isReserved(name)) throw accessRefused(`queue name '${name}' contains reserved prefix 'amq.*'`)
    return this.addQueue(declaration, owner)
  }

  #stored(args: Headers): Headers {
    return this.dialect.storesQueueType ? { "x-queue-type": "classic", ...args } : args
  }

  /** Adds a queue under a name that is free. */
  addQueue(declaration: QueueDeclaration, owner: object): Queue {
    const settings = readSettings(declaration, this.name, this.dialect)
    const queue = settings.type === "stream"
      ? new StreamQueue(declaration, settings, this, this.#now)
      : new MessageQueue(declaration, settings, this, owner, this.#host, this.#now())
    this.queues.set(queue.name, queue)
    return queue
  }

  deleteQueue(queue: Queue): void {
    if (queue.isDeleted) return
    queue.isDeleted = true
    this.queues.delete(queue.name)
    this.#unbindEverywhere(queue)
    for (const consumer of queue.consumers.splice(0)) consumer.cancelled()
    if (queue.settings.type !== "stream") queue.purge()
    this.#host.queueDeleted(queue)
  }

  /**
   * The queues that a message goes to. An exchange that finds none passes it to its alternate exchange; each exchange
   * is visited once, so that cycles end.
   */
  route(exchange: string, message: Message): Iterable<Queue> {
    if (exchange === "") return this.#routeByName(message)
    const first = this.exchanges.get(exchange)
    if (first === undefined) return []
    const queues = new Set<Queue>()
    const seen = new Set<Exchange>()
    const work: Array<Exchange> = [first]
    for (let current = work.pop(); current !== undefined; current = work.pop()) {
      if (seen.has(current)) continue
      seen.add(current)
      const destinations = new Set<Destination>()
      current.match(message, destinations)
      if (destinations.size === 0 && current.alternate !== undefined) {
        if (current.alternate === "") { for (const queue of this.#routeByName(message)) queues.add(queue) }
        const alternate = this.exchanges.get(current.alternate)
        if (alternate !== undefined) work.push(alternate)
      }
      for (const destination of destinations) {
        if (destination.kind === "queue") queues.add(destination)
        else work.push(destination)
      }
    }
    return queues
  }

  #routeByName(message: Message): Iterable<Queue> {
    if (message.routingKeys.length === 1) {
      const queue = this.queues.get(message.routingKeys[0])
      return queue === undefined ? [] : [queue]
    }
    const queues = new Set<Queue>()
    for (const key of message.routingKeys) {
      const queue = this.queues.get(key)
      if (queue !== undefined) queues.add(queue)
    }
    return queues
  }
}

/**
 * What cannot be declared, and why: a broker would answer it by closing the channel, or even the connection of everybody.
 */
import type { Arguments } from "../../AmqpDriver.ts"
import { Refused, shortString, tableSize } from "../wire/limits.ts"
import type { Exchange, Queue, ServerNamedQueue, Topology } from "./entities.ts"

const ofArguments = (what: string, table: Arguments): string | undefined => {
  const size = tableSize(table, "arguments")
  return size instanceof Refused ? `${what}: ${size.field} ${size.detail}` : undefined
}

const ofType = ({ name, type }: Exchange): string | undefined =>
  ["direct", "fanout", "topic", "headers"].includes(type) || String(type).startsWith("x-")
    ? undefined
    : `exchange "${name}" has the type "${type}"; it is direct, fanout, topic or headers, or a plugin's, ` +
      "whose name begins with x-"

// Arguments that a type of queue does not have, as RabbitMQ 3.10 to 4.3 refuses them.
const refusedArguments: Readonly<Record<string, ReadonlyArray<string>>> = {
  quorum: ["x-max-priority"],
  stream: [
    "x-message-ttl",
    "x-expires",
    "x-max-length",
    "x-overflow",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-priority",
    "x-delivery-limit",
    "x-single-active-consumer"
  ]
}

const ofQueueType = (queue: Queue): string | undefined => {
  const type = queue.arguments["x-queue-type"]
  if (type !== "quorum" && type !== "stream") return undefined
  const what = `queue "${queue.name}" is a ${type === "quorum" ? "quorum queue" : "stream"}, which`
  if (queue.exclusive) return `${what} cannot be exclusive; leave the type out`
  if (!queue.durable) return `${what} is always durable; leave durable out`
  if (type === "stream" && queue.autoDelete) return `${what} cannot be autoDelete`
  const refused = refusedArguments[type]!.find((argument) => queue.arguments[argument] !== undefined)
  return refused === undefined ? undefined : `${what} has no ${refused}`
}

const ofEntity = (entity: Exchange | Queue): string | undefined => {
  const kind = entity._tag === "Exchange" ? "exchange" : "queue"
  const refused = shortString("name", entity.name)
  if (refused !== undefined) {
    return `${kind} "${String(entity.name).slice(0, 40)}": its name is invalid: ${refused.detail}`
  }
  if (entity.name === "") return `one ${kind} has an empty name`
  return ofArguments(`${kind} "${entity.name}"`, entity.arguments) ??
    (entity._tag === "Exchange" ? ofType(entity) : ofQueueType(entity))
}

const isTable = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype

/** A text that is the same for equal properties, whatever the order in which they were written. */
export const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) =>
    typeof part === "bigint"
      ? `${part}n`
      : isTable(part)
      ? Object.fromEntries(Object.entries(part).sort(([one], [other]) => one < other ? -1 : 1))
      : part)

/** Says what cannot be declared. */
export const problemOf = (topology: Topology): string | undefined => {
  const seen = new Map<string, string>()
  for (const entity of [...topology.exchanges, ...topology.queues]) {
    const problem = ofEntity(entity)
    if (problem !== undefined) return problem
    const key = `${entity._tag === "Exchange" ? "exchange" : "queue"} "${entity.name}"`
    const properties = canonical(entity)
    if ((seen.get(key) ?? properties) !== properties) return `${key} is in it twice, with different properties`
    seen.set(key, properties)
  }
  const labels = new Map<string, ServerNamedQueue>()
  for (const queue of topology.serverNamedQueues) {
    const what = `server-named queue "${queue.label}"`
    if (queue.label === "") return "a server-named queue has an empty label"
    if (canonical(labels.get(queue.label) ?? queue) !== canonical(queue)) return `${what} is in it twice`
    labels.set(queue.label, queue)
    const problem = ofArguments(what, queue.arguments)
    if (problem !== undefined) return problem
  }
  const bindings = new Map<string, string>()
  for (const { _tag, ...binding } of topology.bindings) {
    if (binding.destinationType === "serverNamedQueue" && !labels.has(binding.destination)) {
      return `the server-named queue "${binding.destination}" is bound, and is not in it`
    }
    const refused = shortString("routingKey", binding.routingKey)
    const what = `binding of "${binding.destination}" to "${binding.source}"`
    if (refused !== undefined) return `${what}: its routing key is invalid: ${refused.detail}`
    const problem = ofArguments(what, binding.arguments)
    if (problem !== undefined) return problem
    const key = canonical(binding)
    if ((bindings.get(key) ?? _tag) !== _tag) {
      return `${what} with the routing key "${binding.routingKey}" is in it twice: once to be there, once to be absent`
    }
    bindings.set(key, _tag)
  }
  return undefined
}

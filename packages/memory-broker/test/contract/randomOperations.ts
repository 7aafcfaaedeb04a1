/**
 * Random sequences of operations, and all that can be seen while they run. A seed decides a sequence; its names carry a
 * prefix, so that many can run on one broker.
 */
import { Effect, Option } from "effect"
import { seeded } from "effect-amqp-memory/SeededRandom"
import type { Arguments, DriverDelivery } from "effect-amqp/AmqpDriver"
import type { AmqpError } from "effect-amqp/AmqpError"
import { Broker } from "./Broker.ts"
import * as Client from "./Client.ts"

const queueKinds: ReadonlyArray<Arguments> = [
  {},
  { "x-max-length": 2 },
  { "x-max-length": 2, "x-overflow": "reject-publish" },
  { "x-max-priority": 3 },
  { "x-message-ttl": 60_000 },
  { "x-max-length-bytes": 12 }
]

const quorumKinds: ReadonlyArray<Arguments> = [
  { "x-queue-type": "quorum" },
  { "x-queue-type": "quorum", "x-delivery-limit": 1 },
  { "x-queue-type": "quorum", "x-delivery-limit": -1 }
]

const queues = ["q0", "q1", "q2", "quorum"]

const exchanges = { direct: "direct", fanout: "fanout", topic: "topic" } as const

const keys = ["a", "a.b", "b.c", ""]
const patterns = ["a", "a.*", "#", "*.c", ""]

export type Operation =
  | { readonly _tag: "Declare"; readonly queue: string; readonly arguments: Arguments; readonly deadLetters: boolean }
  | { readonly _tag: "Delete"; readonly queue: string; readonly ifEmpty: boolean }
  | { readonly _tag: "Bind" | "Unbind"; readonly queue: string; readonly exchange: string; readonly pattern: string }
  | {
    readonly _tag: "Publish"
    readonly exchange: string
    readonly key: string
    readonly body: string
    readonly mandatory: boolean
    readonly priority: number
    readonly expiration: string | undefined
  }
  | { readonly _tag: "Get"; readonly queue: string; readonly noAck: boolean }
  | { readonly _tag: "Ack"; readonly tag: number; readonly multiple: boolean }
  | { readonly _tag: "Nack"; readonly tag: number; readonly multiple: boolean; readonly requeue: boolean }
  | { readonly _tag: "Reject"; readonly tag: number; readonly requeue: boolean }
  | { readonly _tag: "Purge" | "Check"; readonly queue: string }
  | { readonly _tag: "Consume"; readonly queue: string; readonly prefetch: number }
  | { readonly _tag: "Expire" }
  | { readonly _tag: "Reopen" }

/** The sequence of a seed. */
export const operations = (seed: number): ReadonlyArray<Operation> => {
  const random = seeded(seed)
  const below = (n: number) => Math.floor(random() * n)
  const one = <A>(all: ReadonlyArray<A>): A => all[below(all.length)]!
  const chance = (p: number) => random() < p
  const queue = () => one(queues)
  const exchange = () => one(Object.keys(exchanges))
  let got = 0
  let published = 0

  const declare = (name: string): Operation => ({
    _tag: "Declare",
    queue: name,
    arguments: one(name === "quorum" ? quorumKinds : queueKinds),
    deadLetters: chance(0.5)
  })
  const next = (): Operation => {
    const dice = below(100)
    if (dice < 34) {
      const direct = chance(0.5)
      return {
        _tag: "Publish",
        exchange: direct ? "" : exchange(),
        key: direct ? queue() : one(keys),
        body: `m${published++}`,
        mandatory: chance(0.5),
        priority: below(5),
        expiration: chance(0.1) ? one(["0", "20"]) : undefined
      }
    }
    if (dice < 54) {
      got++
      return { _tag: "Get", queue: queue(), noAck: chance(0.3) }
    }
    if (dice < 62) return { _tag: "Ack", tag: 1 + below(Math.max(1, got)), multiple: chance(0.3) }
    if (dice < 66) return { _tag: "Reject", tag: 1 + below(Math.max(1, got)), requeue: chance(0.6) }
    if (dice < 76) {
      return { _tag: "Nack", tag: 1 + below(Math.max(1, got)), multiple: chance(0.3), requeue: chance(0.6) }
    }
    if (dice < 83) return { _tag: "Bind", queue: queue(), exchange: exchange(), pattern: one(patterns) }
    if (dice < 86) return { _tag: "Unbind", queue: queue(), exchange: exchange(), pattern: one(patterns) }
    if (dice < 89) return { _tag: "Check", queue: queue() }
    if (dice < 91) return { _tag: "Purge", queue: queue() }
    if (dice < 93) {
      const name = queue()
      // A quorum queue that is deleted only if it is empty takes the connection with it.
      return { _tag: "Delete", queue: name, ifEmpty: name !== "quorum" && chance(0.4) }
    }
    if (dice < 96) return declare(queue())
    if (dice < 97) return { _tag: "Consume", queue: queue(), prefetch: 1 + below(2) }
    if (dice < 99) return { _tag: "Expire" }
    return { _tag: "Reopen" }
  }
  return [
    ...queues.map(declare),
    ...Object.keys(exchanges).map((name): Operation => ({
      _tag: "Bind",
      queue: queue(),
      exchange: name,
      pattern: one(patterns)
    })),
    ...Array.from({ length: 30 }, next)
  ]
}

const story = (delivery: DriverDelivery): string => {
  const headers = delivery.properties.headers ?? {}
  const deaths = headers["x-death"]
  const counts = ["x-delivery-count", "x-acquired-count"]
    .flatMap((name) => headers[name] === undefined ? [] : [` ${name} ${String(headers[name])}`])
    .join("")
  return counts + (Array.isArray(deaths)
    ? ` died ${
      (deaths as ReadonlyArray<Readonly<Record<string, unknown>>>)
        .map((death) => `${String(death["reason"])} in ${String(death["queue"])} x${String(death["count"])}`)
        .join(", ")
    }`
    : "")
}

const show = (delivery: DriverDelivery): string =>
  `${Client.text(delivery)} #${delivery.deliveryTag}${delivery.redelivered ? " again" : ""} from ` +
  `"${delivery.exchange}" "${delivery.routingKey}"${story(delivery)}`

/** Run a sequence, and return a line for everything that was seen. */
export const observe = Effect.fnUntraced(function*(connection: Client.Connection, seed: number, prefix: string) {
  const { elapse } = yield* Broker
  const name = (short: string) => short === "" ? "" : `${prefix}${short}`
  const lines: Array<string> = []
  let channel = yield* Client.open(connection)
  const say = (line: string) => {
    lines.push(line.replaceAll(prefix, ""))
  }

  yield* Client.queue(channel, name("dead"))
  for (const [short, type] of Object.entries(exchanges)) yield* Client.exchange(channel, name(short), type)
  yield* Client.exchange(channel, name("dlx"), "fanout")
  yield* Client.bind(channel, name("dead"), name("dlx"))

  /** Waits for an acknowledgement: an unknown tag closes the channel before the answer, and a quorum queue takes time. */
  const settled = Effect.suspend(() => channel.checkExchange(name("dlx"))).pipe(
    Effect.andThen(elapse("15 millis")),
    Effect.as("ok")
  )

  const perform = Effect.fnUntraced(function*(operation: Operation): Effect.fn.Return<string, AmqpError, Broker> {
    switch (operation._tag) {
      case "Declare": {
        const args = operation.deadLetters
          ? { ...operation.arguments, "x-dead-letter-exchange": name("dlx") }
          : operation.arguments
        const info = yield* Client.queue(channel, name(operation.queue), args)
        return `${info.queue} ${info.messageCount} ${info.consumerCount}`
      }
      case "Delete":
        return `${yield* channel.deleteQueue(name(operation.queue), { ifUnused: false, ifEmpty: operation.ifEmpty })}`
      case "Bind":
      case "Unbind": {
        const binding = {
          queue: name(operation.queue),
          exchange: name(operation.exchange),
          routingKey: operation.pattern,
          arguments: {}
        }
        yield* operation._tag === "Bind" ? channel.bindQueue(binding) : channel.unbindQueue(binding)
        return "ok"
      }
      case "Publish": {
        const returned = channel.returns.length
        const ack = yield* Client.publish(channel, {
          exchange: name(operation.exchange),
          routingKey: operation.exchange === "" ? name(operation.key) : operation.key,
          body: operation.body,
          mandatory: operation.mandatory,
          properties: {
            priority: operation.priority,
            ...(operation.expiration === undefined ? {} : { expiration: operation.expiration })
          }
        })
        if (operation.expiration !== undefined) yield* elapse("60 millis")
        return `${ack ? "ack" : "nack"}${channel.returns.length > returned ? " returned" : ""}`
      }
      case "Get": {
        const got = yield* channel.get(name(operation.queue), { noAck: operation.noAck })
        return Option.match(got, { onNone: () => "nothing", onSome: show })
      }
      case "Ack":
        channel.ackUnsafe(operation.tag, operation.multiple)
        return yield* settled
      case "Nack":
        channel.nackUnsafe(operation.tag, operation.multiple, operation.requeue)
        return yield* settled
      case "Reject":
        channel.rejectUnsafe(operation.tag, operation.requeue)
        return yield* settled
      case "Purge":
        return `${yield* channel.purgeQueue(name(operation.queue))}`
      case "Check": {
        const info = yield* channel.checkQueue(name(operation.queue))
        return `${info.messageCount} ${info.consumerCount}`
      }
      case "Consume": {
        yield* channel.prefetch(operation.prefetch)
        const consumer = yield* Client.consume(channel, name(operation.queue))
        yield* elapse("30 millis")
        yield* channel.cancel(consumer.tag)
        return consumer.received.map(show).join("; ")
      }
      case "Expire":
        yield* elapse("60 millis")
        return "ok"
      case "Reopen":
        yield* channel.close
        channel = yield* Effect.orDie(Client.open(connection))
        yield* elapse("20 millis")
        return "ok"
    }
  })

  for (const operation of operations(seed)) {
    const seen = yield* perform(operation).pipe(
      Effect.catch((error) => Effect.map(Client.seen(error), (failure) => `${failure.reason}: ${failure.text}`))
    )
    say(`${JSON.stringify(operation)} => ${seen}`)
    if (!channel.isOpen()) {
      channel = yield* Client.open(connection)
      yield* elapse("20 millis")
    }
  }
  yield* channel.close
  yield* elapse("40 millis")
  const last = yield* Client.open(connection)
  for (const short of [...queues, "dead"]) {
    const rest = yield* Client.drain(last, name(short)).pipe(Effect.option)
    // Dead letters of several queues meet in no certain order.
    const shown = (all: ReadonlyArray<DriverDelivery>) =>
      short === "dead" ? all.map((one) => Client.text(one) + story(one)).toSorted() : all.map(show)
    const held = Option.match(rest, { onNone: () => "nothing", onSome: (all) => shown(all).join("; ") })
    say(`${short} holds ${held}`)
    if (Option.isNone(rest)) break
  }
  if (last.isOpen()) {
    for (const short of [...queues, "dead"]) {
      yield* last.deleteQueue(name(short), { ifUnused: false, ifEmpty: false })
    }
    yield* last.close
  }
  return lines
})

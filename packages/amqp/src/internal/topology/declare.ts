/**
 * Declares a topology on a session in a few round trips. The answers of one channel come one after the other, so a large
 * topology is declared on several channels at the same time; what fails is named by its own operation.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { Arguments, DriverChannel } from "../../AmqpDriver.ts"
import { noChannelEvents } from "../../AmqpDriver.ts"
import { AmqpError, InvalidConfiguration } from "../../AmqpError.ts"
import { isRabbitMqSince } from "../connection/brokerVersion.ts"
import type { Session } from "../connection/session.ts"
import type { Binding, Queue, ServerNamedQueue, Topology } from "./entities.ts"

/** One question to the broker, on the channel that has time for it. */
type Step = (channel: DriverChannel) => Effect.Effect<void, AmqpError>

const maxChannels = 32
const stepsOfChannel = 4

const openChannels = Effect.fnUntraced(function*(
  session: Session,
  count: number
): Effect.fn.Return<Array<DriverChannel>, AmqpError, Scope.Scope> {
  const open = session.openChannel({ confirm: false }, noChannelEvents)
  const first = yield* open
  // A connection with few channels left is slower, and no reason to fail.
  const more = yield* Effect.forEach(
    Array.from({ length: count - 1 }),
    () => Effect.catch(open, () => Effect.succeed(undefined)),
    { concurrency: "unbounded" }
  )
  return [first, ...more.filter((channel) => channel !== undefined)]
})

/** Takes the steps, as many at a time as there are channels. */
const take = (steps: ReadonlyArray<Step>, free: Array<DriverChannel>): Effect.Effect<void, AmqpError> =>
  Effect.forEach(
    steps,
    (step) =>
      Effect.suspend(() => {
        const channel = free.pop()!
        return Effect.tap(step(channel), () => Effect.sync(() => free.push(channel)))
      }),
    { concurrency: free.length, discard: true }
  )

const bindingStep = (session: Session, binding: Binding): Step => {
  const { _tag, destination, destinationType, source, ...rest } = binding
  const isPresent = _tag === "Binding"
  const queue = destinationType === "serverNamedQueue" ? session.queues.nameOf(destination)! : destination
  return (channel) =>
    session.bounded(
      isPresent ? `bind ${destination} to ${source}` : `unbind ${destination} from ${source}`,
      destinationType === "exchange"
        ? (isPresent ? channel.bindExchange : channel.unbindExchange)({ destination, source, ...rest })
        : (isPresent ? channel.bindQueue : channel.unbindQueue)({ queue, exchange: source, ...rest })
    )
}

/** Releases what was acquired all at once: each channel's goodbye is a round trip. */
const atOnce = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A, E> =>
  Effect.acquireUseRelease(
    Scope.make("parallel"),
    (scope) => Scope.provide(effect, scope),
    (scope, exit) => Scope.close(scope, exit)
  )

/** RabbitMQ before 4.0 takes a negative delivery limit for one that every message is over at its first requeue. */
const refuseUnlimited = (session: Session, name: string, args: Arguments): Effect.Effect<void, AmqpError> => {
  const limit = args["x-delivery-limit"]
  const { product } = session.driver.serverProperties
  return typeof limit !== "number" || limit >= 0 || product !== "RabbitMQ" || isRabbitMqSince(session.driver, 4, 0)
    ? Effect.void
    : Effect.fail(
      new AmqpError({
        operation: `declareQueue ${name}`,
        reason: new InvalidConfiguration({
          option: "deliveryLimit",
          detail:
            `it is ${limit} for the queue "${name}", which is unlimited from RabbitMQ 4.0 on; this broker would ` +
            "drop each message at its first requeue. Leave it out: before 4.0 there is no limit by default"
        })
      })
    )
}

/** Declares a topology. Exchanges and queues are there before their bindings are. */
export const declareOn = (session: Session, topology: Topology): Effect.Effect<void, AmqpError> =>
  atOnce(Effect.gen(function*() {
    const { bindings, exchanges, queues, serverNamedQueues } = topology
    const entities: ReadonlyArray<Step> = [
      ...exchanges.map(({ _tag, name, ...properties }): Step => (channel) =>
        session.bounded(`declareExchange ${name}`, channel.declareExchange({ exchange: name, ...properties }))
      ),
      ...queues.map(({ _tag, name, ...properties }): Step => (channel) =>
        Effect.andThen(
          refuseUnlimited(session, name, properties.arguments),
          Effect.asVoid(session.bounded(`declareQueue ${name}`, channel.declareQueue({ queue: name, ...properties })))
        )
      ),
      ...serverNamedQueues.filter(({ label }) => session.queues.nameOf(label) === undefined).map(
        ({ arguments: args, label }): Step => (channel) =>
          Effect.flatMap(
            session.bounded(
              `declareQueue ${label}`,
              channel.declareQueue({ queue: "", durable: false, exclusive: true, autoDelete: false, arguments: args })
            ),
            ({ queue }) => session.queues.name(label, queue)
          )
      )
    ]
    const steps = Math.max(entities.length, bindings.length)
    const channels = yield* openChannels(session, Math.min(maxChannels, Math.max(1, Math.ceil(steps / stepsOfChannel))))
    yield* take(entities, channels)
    yield* take(bindings.map((binding) => bindingStep(session, binding)), channels)
  }))

/** The part of a topology that one queue needs: itself, what it is bound to, and its bindings. */
const partOf = (topology: Topology, queue: Queue | ServerNamedQueue): Topology => {
  const isNamed = queue._tag === "Queue"
  const destination = isNamed ? queue.name : queue.label
  const bindings = topology.bindings.filter((binding) =>
    binding.destination === destination && binding.destinationType === (isNamed ? "queue" : "serverNamedQueue")
  )
  const sources = new Set(bindings.map(({ source }) => source))
  return {
    exchanges: topology.exchanges.filter(({ name }) => sources.has(name)),
    queues: isNamed ? [queue] : [],
    serverNamedQueues: isNamed ? [] : [queue],
    bindings
  }
}

/** Lets consumers have a queue declared again that is gone within the session, until the scope ends. */
export const rememberOn = (
  session: Session,
  topology: Topology,
  queues: ReadonlyArray<Queue | ServerNamedQueue>
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.forEach(
    queues,
    (queue) => {
      const part = partOf(topology, queue)
      return session.queues.remember(
        queue,
        Effect.suspend(() => {
          if (queue._tag === "ServerNamedQueue") session.queues.forgetName(queue.label)
          return declareOn(session, part)
        })
      )
    },
    { discard: true }
  )

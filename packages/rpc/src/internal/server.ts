/**
 * The server's side: requests are taken from the queue of the service, and acknowledged when the broker has their answer,
 * so that what a server that dies has not answered goes to another one.
 */
import type { AmqpConnection } from "effect-amqp/AmqpConnection"
import * as AmqpConsumer from "effect-amqp/AmqpConsumer"
import type { Delivery } from "effect-amqp/AmqpDelivery"
import type { AmqpError } from "effect-amqp/AmqpError"
import type { Message } from "effect-amqp/AmqpMessage"
import * as AmqpPublisher from "effect-amqp/AmqpPublisher"
import * as AmqpTopology from "effect-amqp/AmqpTopology"
import type { PublishError } from "effect-amqp/PublishError"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import type { FromClientEncoded, FromServerEncoded, RequestEncoded, ResponseExitEncoded } from "effect/rpc/RpcMessage"
import { RpcSerialization } from "effect/rpc/RpcSerialization"
import type * as RpcServer from "effect/rpc/RpcServer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { OwnType } from "./envelope.ts"
import { attemptHeader, attemptOf, bytes, coding, deadlineOf, headersOf } from "./envelope.ts"
import type { Client, Fate, Running } from "./running.ts"
import { Clients } from "./running.ts"
import type { ServiceNames } from "./service.ts"
import { Tombstones } from "./tombstones.ts"

/** How a server answers. */
export interface ServerOptions {
  readonly service: ServiceNames
  readonly concurrency: number
  readonly maxAttempts: number
  readonly drainTimeout: number
  readonly livenessInterval: number
}

/** The server's side of a service, and what is to be done before a handler that must not run twice. */
export interface ServerSide {
  readonly protocol: RpcServer.Protocol["Service"]
  /** Acknowledges the request of a call for good; `false` if the call is not to be handled. */
  readonly takeForGood: (clientId: number, requestId: string | number) => Effect.Effect<boolean>
}

type Handle = (clientId: number, message: FromClientEncoded) => Effect.Effect<void>

// An idle client is looked after in every so-manieth sweep.
const idleSweeps = 15

// How long an acknowledgement has to leave for the broker.
const ackMillis = 10

const isInterrupt = ({ exit }: ResponseExitEncoded): boolean =>
  // A binary serialization has encoded the exit.
  exit instanceof Uint8Array ||
  (exit._tag === "Failure" && exit.cause.length > 0 && exit.cause.every(({ _tag }) => _tag === "Interrupt"))

/** Makes the server's side of a service. */
export const make = Effect.fnUntraced(function*(
  { concurrency, drainTimeout, livenessInterval, maxAttempts, service }: ServerOptions
): Effect.fn.Return<ServerSide, AmqpError, AmqpConnection | RpcSerialization | Scope.Scope> {
  const serialization = yield* RpcSerialization
  const { contentType, decode, encode } = coding(serialization)
  const clock = yield* Clock.Clock
  const now = (): number => clock.currentTimeMillisUnsafe()
  const disconnects = yield* Queue.make<number>()
  const clients = new Clients()
  const tombstones = new Tombstones()
  const serverOf = { service: service.name }

  const control = AmqpTopology.serverNamedQueue(`${service.name} control ${crypto.randomUUID()}`)
  const topology = AmqpTopology.make(
    service.queue,
    service.control,
    control,
    AmqpTopology.bind(control, service.control)
  )
  yield* AmqpTopology.declare(topology)
  const controlName = yield* AmqpTopology.followName(control)
  const replies = yield* AmqpPublisher.make({ maxInFlight: 10_000 })

  /** What the group's handlers are called by, while a server runs. */
  let handle: Handle = () => Effect.void
  const running = Latch.makeUnsafe(false)
  /** The running calls are given up. */
  let isOver = false
  /** The queue itself counts how often a request was taken. */
  const isCounted = service.queue.arguments["x-queue-type"] === "quorum"
  let lastControlName = ""
  const replyTo = (): string => lastControlName = SubscriptionRef.getUnsafe(controlName) ?? lastControlName

  const gone = (client: Client): Effect.Effect<void> =>
    Effect.sync(() => {
      if (!clients.remove(client)) return
      for (const call of client.calls.values()) call.finish("ack")
      client.calls.clear()
      Queue.offerUnsafe(disconnects, client.id)
    })

  const own = (client: Client, type: OwnType, correlationId: string | undefined, body: string, from = replyTo()) =>
    replies.submit(
      { routingKey: client.replyTo, body: bytes(body), type, persistent: false, replyTo: from, correlationId },
      ({ reason }) => reason._tag === "Unroutable" ? gone(client) : Effect.void
    )

  /** Ends a call that goes to no other server, without an answer. */
  const giveUp = (call: Running): Effect.Effect<void> =>
    Effect.andThen(
      own(call.client, "unknown", call.correlationId, "", call.server),
      Effect.sync(() => call.finish("ack"))
    )

  const stop = (call: Running): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (call.isStopped) return Effect.void
      call.isStopped = true
      return handle(call.client.id, { _tag: "Interrupt", requestId: call.requestId })
    })

  const message = (client: Client, call: Running | undefined, body: Uint8Array): Message => ({
    routingKey: client.replyTo,
    body,
    contentType,
    persistent: false,
    replyTo: call?.server ?? replyTo(),
    correlationId: call?.correlationId
  })
  const onUnsent = (client: Client, call: Running | undefined, error: PublishError): Effect.Effect<void> => {
    const { reason } = error
    if (reason._tag === "Unroutable") return gone(client)
    if (reason._tag === "TooLarge" && call !== undefined) {
      return Effect.andThen(own(client, "tooLarge", call.correlationId, reason.message), stop(call))
    }
    return Effect.logWarning("AMQP RPC answer was not confirmed", { ...serverOf, reason: error.message })
  }
  const reply = (client: Client, call: Running | undefined, body: Uint8Array): Effect.Effect<void> =>
    replies.submit(message(client, call, body), (error) => onUnsent(client, call, error))

  /**
   * Acknowledges a request, gives it back, or answers it first. The answer and the acknowledgement go by two connections,
   * so that a process that dies could send the one without the other: the handler is done, and this waits for the confirm.
   */
  const settle = (call: Running, fate: Fate): Effect.Effect<void, AmqpConsumer.HandlerDecision> => {
    if (fate === "ack") return Effect.void
    if (fate === "giveBack") return AmqpConsumer.giveBack
    const { client } = call
    return Effect.catchTag(
      replies.publish(message(client, call, fate.answer)),
      "PublishError",
      (error) => error.isRetryable && !call.isHeld ? AmqpConsumer.giveBack : onUnsent(client, call, error)
    )
  }

  const send = (clientId: number, response: FromServerEncoded): Effect.Effect<void> => {
    const client = clients.byId(clientId)
    if (client === undefined) return Effect.void
    if (response._tag !== "Chunk" && response._tag !== "Exit") {
      const body = encode(response)
      if (body === undefined) return Effect.void
      // The client gives up all of its calls, and one of them has no other exit than this.
      if (response._tag === "Defect") { for (const call of client.calls.values()) call.finish("ack") }
      return reply(client, undefined, body)
    }
    const call = client.calls.get(String(response.requestId))
    if (call === undefined) return Effect.void
    if (response._tag === "Exit") {
      if (call.isStopped) return Effect.sync(() => call.finish("ack"))
      if (call.isRefused) return giveUp(call)
      if (isOver && isInterrupt(response)) {
        return call.isHeld ? giveUp(call) : Effect.sync(() => call.finish("giveBack"))
      }
    }
    const body = encode(response)
    if (body === undefined) return Effect.void
    if (response._tag === "Exit") return Effect.sync(() => call.finish({ answer: body }))
    if (call.isStopped) return Effect.void
    if (call.isHeld) return reply(client, call, body)
    call.hold(replyTo())
    return Effect.andThen(reply(client, call, body), call.acknowledge)
  }

  const begin = (client: Client, message: RequestEncoded, delivery: Delivery) => {
    const { id } = message
    if (message.isNotification === true || (typeof id !== "string" && typeof id !== "number")) {
      return handle(client.id, message)
    }
    const call = client.begin(id, delivery)
    // It is running already, and came again because the connection was lost.
    if (call === undefined) return Effect.void
    return Effect.andThen(handle(client.id, message), call.finished).pipe(
      Effect.flatMap((fate) => settle(call, fate)),
      Effect.onInterrupt(() => stop(call))
    )
  }

  /** Answers a request that no server answers, however often it is taken. */
  const giveUpPoison = (
    { properties: { correlationId } }: Delivery,
    client: string,
    attempts: number
  ): Effect.Effect<void, AmqpConsumer.HandlerDecision> =>
    Effect.logWarning("AMQP RPC server gives up a call that was taken again and again", { ...serverOf, attempts }).pipe(
      Effect.andThen(replies.publish({
        routingKey: client,
        body: bytes(String(attempts)),
        type: "poison" satisfies OwnType,
        persistent: false,
        replyTo: replyTo(),
        correlationId
      })),
      Effect.catchTag("PublishError", ({ isRetryable }) => isRetryable ? AmqpConsumer.giveBack : Effect.void)
    )

  /** The copies that are put into the queue, until the requests that they stand for are acknowledged. */
  const copying = new Map<string, Latch.Latch>()

  /**
   * Puts a copy of a request that was taken before into the queue, which says how often. A server that dies before it has
   * acknowledged the request leaves both: then it is handled twice, as any call may be.
   */
  const takeAgain = (
    delivery: Delivery,
    client: string,
    attempt: number,
    deadline: number | undefined
  ): Effect.Effect<void, AmqpConsumer.HandlerDecision> => {
    const { contentType, correlationId } = delivery.properties
    const key = `${client} ${correlationId}`
    const acknowledged = Latch.makeUnsafe(false)
    copying.set(key, acknowledged)
    return replies.publish({
      routingKey: service.queue.name,
      body: delivery.body,
      contentType,
      persistent: false,
      replyTo: client,
      correlationId,
      headers: { ...headersOf(delivery), [attemptHeader]: attempt },
      ...(deadline === undefined ? {} : { expiration: Math.max(1, Math.ceil(deadline - now())) })
    }).pipe(
      Effect.andThen(delivery.ack()),
      // The copy may come here, and kill this process at once: the acknowledgement is to be on its way by then.
      Effect.andThen(Effect.sleep(ackMillis)),
      Effect.catchTag("PublishError", (error) =>
        error.isRetryable ? AmqpConsumer.giveBack : Effect.andThen(
          Effect.logWarning("AMQP RPC request could not be counted", { ...serverOf, reason: error.message }),
          own(clients.of(client), "unknown", correlationId, "")
        )),
      Effect.ensuring(Effect.sync(() => {
        copying.delete(key)
        acknowledged.openUnsafe()
      }))
    )
  }

  const onControl = (client: Client, message: FromClientEncoded, replyTo: string): Effect.Effect<void> => {
    if (message._tag === "Eof" || message._tag === "Ping") return handle(client.id, message)
    if (message._tag === "Request") return Effect.void
    const id = String(message.requestId)
    const call = client.calls.get(id)
    if (call !== undefined) return message._tag === "Interrupt" ? stop(call) : handle(client.id, message)
    if (message._tag === "Interrupt") tombstones.add(`${replyTo} ${id}`)
    return Effect.void
  }

  const receiveRequest = (delivery: Delivery): Effect.Effect<void, AmqpConsumer.HandlerDecision> => {
    const { correlationId, replyTo } = delivery.properties
    const copied = copying.size === 0 ? undefined : copying.get(`${replyTo} ${correlationId}`)
    return copied === undefined
      ? receive(delivery, true)
      : copied.whenOpen(Effect.suspend(() => receive(delivery, true)))
  }

  const receive = (delivery: Delivery, isRequest: boolean): Effect.Effect<void, AmqpConsumer.HandlerDecision> => {
    const { correlationId, replyTo, type } = delivery.properties
    if (type !== undefined) return Effect.void
    if (replyTo === undefined) {
      return Effect.logWarning("AMQP RPC server received a message without replyTo, and drops it", serverOf)
    }
    const deadline = isRequest ? deadlineOf(delivery) : undefined
    if (deadline !== undefined && deadline <= now()) return Effect.void
    if (isRequest && delivery.redelivered) {
      // It runs here already, and came again because the connection was lost.
      if (clients.isRunning(replyTo, correlationId)) return Effect.void
      const attempt = attemptOf(delivery) + (isCounted ? 0 : 1)
      if (attempt > maxAttempts) return giveUpPoison(delivery, replyTo, attempt - 1)
      if (!isCounted) return takeAgain(delivery, replyTo, attempt, deadline)
    }
    let messages: ReadonlyArray<unknown>
    try {
      messages = decode(delivery)
    } catch (error) {
      return own(
        clients.of(replyTo),
        "unreadable",
        correlationId,
        error instanceof Error ? error.message : String(error)
      )
    }
    const one = (message: FromClientEncoded): Effect.Effect<void, AmqpConsumer.HandlerDecision> => {
      if (message._tag === "Request" && isRequest) {
        return tombstones.take(`${replyTo} ${message.id}`)
          ? Effect.void
          : begin(clients.of(replyTo), message, delivery)
      }
      return onControl(clients.of(replyTo), message, replyTo)
    }
    return messages.length === 1
      ? one(messages[0] as FromClientEncoded)
      : Effect.forEach(messages, (message) => one(message as FromClientEncoded), {
        discard: true,
        concurrency: "unbounded"
      })
  }

  yield* AmqpConsumer.make(
    control,
    (delivery) => Effect.suspend(() => Effect.ignoreCause(receive(delivery, false), { log: "Warn" })),
    { noAck: true }
  )
  const consume = AmqpConsumer.make(service.queue, (delivery) => running.whenOpen(receiveRequest(delivery)), {
    concurrency,
    prefetch: concurrency,
    // No handler fails; what is not answered is given back.
    onFailure: "drop",
    drainTimeout
  })
  // The last server before this one may have taken the queue with it since it was declared.
  const consumer = yield* Effect.retry(consume, {
    schedule: Schedule.upTo(Schedule.spaced("100 millis"), { times: 5 }),
    while: (error) =>
      error.reason._tag === "NotFound"
        ? Effect.as(AmqpTopology.declare(AmqpTopology.make(service.queue)), true)
        : Effect.succeed(false)
  })

  // What was acknowledged is known to its client by the control queue, which is gone with its session.
  yield* Effect.forkScoped(
    Stream.runForEach(SubscriptionRef.changes(controlName), (name) =>
      Effect.suspend(() =>
        Effect.forEach(
          clients.calls().filter((call) => call.isHeld && call.server !== name && !call.isStopped),
          (call) => Effect.andThen(giveUp(call), stop(call)),
          { discard: true }
        )
      )),
    { startImmediately: true }
  )

  let sweeps = 0
  const sweep = Effect.suspend(() => {
    const all = ++sweeps % idleSweeps === 0
    return Effect.forEach(
      clients.all().filter(({ calls }) => all || calls.size > 0),
      (client) =>
        own(client, "ping", undefined, Array.from(client.calls.values(), (call) => call.correlationId).join("\n")),
      { discard: true }
    )
  })
  yield* sweep.pipe(Effect.delay(livenessInterval), Effect.forever, Effect.forkScoped)

  const drain = Effect.gen(function*() {
    yield* consumer.pause
    yield* Effect.timeoutOption(clients.idle, drainTimeout)
    isOver = true
  })
  const alone = Semaphore.makeUnsafe(1)
  const run: RpcServer.Protocol["Service"]["run"] = (f) =>
    alone.withPermit(Effect.contextWith((context: Context.Context<never>) => {
      // The context of the server rather than of the message, which is another one each time.
      handle = (clientId, message) => Effect.updateContext(f(clientId, message), () => context)
      isOver = false
      running.openUnsafe()
      return Effect.andThen(consumer.resume, Effect.never).pipe(
        // RpcServer interrupts its handlers after this.
        Effect.onInterrupt(() => drain)
      )
    }))

  return {
    protocol: {
      run,
      disconnects,
      send: (clientId, response) => Effect.suspend(() => send(clientId, response)),
      end: () => Effect.void,
      clientIds: Effect.sync(() => clients.ids()),
      initialMessage: Effect.succeedNone,
      supportsAck: true,
      supportsTransferables: false,
      supportsSpanPropagation: true,
      supportsNotifications: true,
      codecFor: serialization.codecFor
    },
    takeForGood: (clientId, requestId) =>
      Effect.suspend(() => {
        const call = clients.byId(clientId)?.calls.get(String(requestId))
        if (call === undefined) return Effect.succeed(false)
        if (call.delivery.redelivered || attemptOf(call.delivery) > 1) {
          // Another server may have handled it.
          call.isRefused = true
          return Effect.succeed(false)
        }
        call.hold(replyTo())
        return Effect.flatMap(call.delivery.ack(), (isWritten) => {
          // Without its channel it is delivered again, and refused there.
          if (!isWritten) call.isStopped = true
          return isWritten
            ? Effect.as(own(call.client, "taken", call.correlationId, "", call.server), true)
            : Effect.succeed(false)
        })
      })
  }
})

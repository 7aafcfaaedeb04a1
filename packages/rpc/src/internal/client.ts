/**
 * The client's side: calls go to the queue of the service, and what comes back comes to a reply queue of this client.
 *
 * The reply queue is named by the server rather than `amq.rabbitmq.reply-to`: replies to it can be mandatory, so that a
 * server hears when the client is gone, and it has a channel of its own.
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
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { RpcClientError } from "effect/rpc/RpcClientError"
import type { FromClientEncoded, FromServerEncoded, RequestEncoded } from "effect/rpc/RpcMessage"
import { RpcSerialization } from "effect/rpc/RpcSerialization"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as CallError from "../CallError.ts"
import { Call, Calls } from "./calls.ts"
import type { OwnType } from "./envelope.ts"
import { bytes, coding, deadlineHeader } from "./envelope.ts"
import type { ServiceNames } from "./service.ts"

/** How a client calls. */
export interface ClientOptions {
  readonly service: ServiceNames
  /** In milliseconds; may be infinite. */
  readonly deadline: number
  readonly livenessInterval: number
}

type Write = (clientId: number, message: FromServerEncoded) => Effect.Effect<void>

// Timers longer than this overflow.
const longest = 2 ** 31 - 1
const utf8 = new TextDecoder()

/** What a client protocol does. */
export interface ClientProtocol {
  readonly send: (clientId: number, message: FromClientEncoded) => Effect.Effect<void, RpcClientError>
  readonly supportsAck: boolean
  readonly supportsTransferables: boolean
  readonly codecFor: RpcSerialization["Service"]["codecFor"]
}

/** Makes the client's side of a service. */
export const make = Effect.fnUntraced(function*(
  { deadline, livenessInterval, service }: ClientOptions,
  write: Write,
  clientIds: ReadonlySet<number>
): Effect.fn.Return<ClientProtocol, AmqpError, AmqpConnection | RpcSerialization | Scope.Scope> {
  const serialization = yield* RpcSerialization
  const { contentType, decode, encode } = coding(serialization)
  const clock = yield* Clock.Clock
  const now = (): number => clock.currentTimeMillisUnsafe()
  const calls = new Calls()
  const { name } = service

  const replies = AmqpTopology.serverNamedQueue(`${name} replies ${crypto.randomUUID()}`)
  yield* AmqpTopology.declare(
    AmqpTopology.make(service.control, replies, ...(service.whenNoServer === "wait" ? [service.queue] : []))
  )
  const replyTo = yield* AmqpTopology.followName(replies)
  // What was written and not confirmed is not published again: a server may have it.
  const requests = yield* AmqpPublisher.make({
    unconfirmed: "fail",
    retryNacked: Schedule.recurs(0),
    confirmTimeout: Math.min(deadline, longest)
  })
  // A channel of its own, so that whatever happens to it costs no request its confirm.
  const controls = yield* AmqpPublisher.make()

  const fail = (call: Call, failure: CallError.CallFailure): void =>
    void calls.settle(call, Exit.fail(CallError.wrap(failure)))
  const unknown = (call: Call, detail: string): void =>
    fail(call, new CallError.OutcomeUnknown({ service: name, detail }))

  const serverGone = (server: string): Effect.Effect<void> =>
    Effect.sync(() => {
      for (const call of calls.all()) {
        if (call.server !== server) continue
        call.server = undefined
        if (call.isHeld) unknown(call, "the server that had it is gone")
      }
    })

  /** Tells the server that has a call, or every server if that is not known. */
  const tell = (message: FromClientEncoded, call: Call, server: string | undefined): Effect.Effect<void> => {
    const body = encode(message)
    if (body === undefined || call.sentTo === undefined) return Effect.void
    const common = { body, contentType, persistent: false, replyTo: call.sentTo, correlationId: call.id }
    const everybody = controls.submit(
      { ...common, exchange: service.control, routingKey: "", mandatory: false },
      (error) => Effect.logDebug("AMQP RPC interrupt was not sent", { service: name, reason: error.message })
    )
    if (server === undefined) return everybody
    return controls.submit({ ...common, routingKey: server }, ({ reason }) =>
      reason._tag !== "Unroutable"
        ? Effect.void
        : message._tag === "Interrupt"
        ? everybody
        : serverGone(server))
  }

  const interrupt = (call: Call): Effect.Effect<void> =>
    Effect.suspend(() => tell({ _tag: "Interrupt", requestId: call.id }, call, call.server))

  const failureOf = (cause: PublishError): CallError.CallFailure => {
    const { published, reason } = cause
    switch (reason._tag) {
      case "Unroutable":
        return new CallError.NoServer({ service: name })
      case "TooLarge":
        return new CallError.TooLarge({ service: name, part: "request", detail: reason.message })
      default:
        return published === "no"
          ? new CallError.NotSent({ service: name, cause })
          : new CallError.OutcomeUnknown({ service: name, detail: reason.message })
    }
  }
  const onRequestFailed = (call: Call, error: PublishError): void => {
    // Its deadline has come, or the broker is slow with the confirm and the answer may come all the same.
    if (error.reason._tag !== "ConfirmTimeout") fail(call, failureOf(error))
  }

  const messageOf = (call: Call, to: string): Message => {
    call.sentTo = to
    call.sentAt = now()
    return {
      routingKey: service.queue.name,
      body: call.body,
      contentType,
      persistent: false,
      replyTo: to,
      correlationId: call.id,
      ...(deadline === Infinity ? {} : {
        expiration: Math.max(1, Math.ceil(call.startedAt + deadline - call.sentAt)),
        headers: { [deadlineHeader]: call.startedAt + deadline }
      })
    }
  }
  const submit = (call: Call, to: string): Effect.Effect<void> =>
    requests.submit(messageOf(call, to), (error) => Effect.sync(() => onRequestFailed(call, error)))

  /** Sends what gets no answer: nothing but its confirm tells that it has arrived. */
  const notify = (call: Call): Effect.Effect<void, RpcClientError> =>
    SubscriptionRef.changes(replyTo).pipe(
      Stream.filter((to) => to !== undefined),
      Stream.take(1),
      Stream.runForEach((to) => requests.publish(messageOf(call, to))),
      Effect.mapError((error) => CallError.wrap(failureOf(error))),
      Effect.timeoutOrElse({
        duration: Math.min(deadline, longest),
        orElse: () =>
          Effect.fail(CallError.wrap(
            new CallError.DeadlineExceeded({ service: name, millis: deadline, wasSent: call.sentTo !== undefined })
          ))
      })
    )

  /** Hands over what comes of a call until its outcome. */
  const follow = (call: Call): Effect.Effect<void, RpcClientError> =>
    Effect.suspend(() => {
      const message = call.inbox.shift()
      if (message !== undefined) return Effect.andThen(write(call.clientId, message), follow(call))
      return call.outcome ?? Effect.andThen(call.next, follow(call))
    })

  const request = (clientId: number, message: RequestEncoded): Effect.Effect<void, RpcClientError> =>
    Effect.suspend(() => {
      const body = encode(message)
      if (body === undefined) return Effect.void
      const call = new Call(String(message.id), clientId, body, now())
      if (message.isNotification === true) return notify(call)
      const to = SubscriptionRef.getUnsafe(replyTo)
      calls.add(call)
      // Without a reply queue it waits for the next one.
      return Effect.onInterrupt(
        to === undefined ? follow(call) : Effect.andThen(submit(call, to), follow(call)),
        () => calls.settle(call, Exit.void) ? interrupt(call) : Effect.void
      )
    })

  const send: ClientProtocol["send"] = (clientId, message) => {
    switch (message._tag) {
      case "Request":
        return request(clientId, message)
      case "Ack": {
        const call = calls.get(String(message.requestId))
        return call?.server === undefined ? Effect.void : tell(message, call, call.server)
      }
      case "Interrupt": {
        const call = calls.get(String(message.requestId))
        return call !== undefined && calls.settle(call, Exit.void) ? interrupt(call) : Effect.void
      }
      default:
        return Effect.void
    }
  }

  const broadcast = (message: FromServerEncoded): Effect.Effect<void> =>
    Effect.forEach(clientIds, (clientId) => write(clientId, message), { discard: true })

  const onMessage = (message: FromServerEncoded, { messageId, properties }: Delivery): Effect.Effect<void> => {
    if (message._tag === "Defect") {
      // As with every transport of effect/rpc, the clients give up all of their calls.
      for (const call of calls.all()) calls.settle(call, Exit.void)
      return broadcast(message)
    }
    if (message._tag !== "Chunk" && message._tag !== "Exit") return broadcast(message)
    const call = calls.get(String(message.requestId))
    const server = properties.replyTo
    if (call === undefined || (call.isHeld && call.server !== server)) {
      // Of a call that is over, or that another server has: its handler would wait for an acknowledgement of this part.
      if (message._tag !== "Chunk" || server === undefined) return Effect.void
      const to = call?.sentTo ?? SubscriptionRef.getUnsafe(replyTo)
      const body = encode({ _tag: "Interrupt", requestId: message.requestId })
      return body === undefined || to === undefined ? Effect.void : controls.submit(
        { routingKey: server, body, contentType, persistent: false, replyTo: to },
        () => Effect.void
      )
    }
    if (message._tag === "Chunk") {
      if (call.isStreaming && call.lastMessageId === messageId) return Effect.void
      call.lastMessageId = messageId
      call.server = server
      call.isHeld = true
      calls.streams(call)
      call.inbox.push(message)
      call.wake()
      return Effect.void
    }
    if (call.isStreaming) {
      call.inbox.push(message)
      calls.settle(call, Exit.void)
      return Effect.void
    }
    calls.settle(call, Exit.void)
    return write(call.clientId, message)
  }

  const onOwn = (type: OwnType, { body, properties }: Delivery): void => {
    const server = properties.replyTo
    if (type === "ping") {
      for (const id of utf8.decode(body).split("\n")) {
        const call = calls.get(id)
        if (call !== undefined && !call.isHeld) call.server = server
      }
      return
    }
    const call = calls.get(properties.correlationId ?? "")
    if (call === undefined || (call.isHeld && call.server !== server)) return
    switch (type) {
      case "taken":
        call.server = server
        call.isHeld = true
        return
      case "unknown":
        return unknown(call, "the server that had it gave it up")
      case "poison":
        return fail(call, new CallError.Poison({ service: name, attempts: Number(utf8.decode(body)) }))
      case "tooLarge":
        return fail(call, new CallError.TooLarge({ service: name, part: "answer", detail: utf8.decode(body) }))
      case "unreadable":
        return fail(call, new CallError.Unreadable({ service: name, detail: utf8.decode(body) }))
    }
  }

  const receive = (delivery: Delivery): Effect.Effect<void> => {
    const { type } = delivery.properties
    if (type !== undefined) return Effect.sync(() => onOwn(type as OwnType, delivery))
    let messages: ReadonlyArray<unknown>
    try {
      messages = decode(delivery)
    } catch (error) {
      const call = calls.get(delivery.properties.correlationId ?? "")
      const detail = `its answer cannot be read: ${String(error)}`
      return call === undefined
        ? Effect.logWarning("AMQP RPC client received what it cannot read", { service: name, detail })
        : Effect.sync(() => unknown(call, detail))
    }
    return messages.length === 1
      ? onMessage(messages[0] as FromServerEncoded, delivery)
      : Effect.forEach(messages, (message) => onMessage(message as FromServerEncoded, delivery), { discard: true })
  }
  yield* AmqpConsumer.make(replies, (delivery) => Effect.suspend(() => receive(delivery)), { noAck: true })

  // Answers go to the reply queue that the request named, and that is gone with its session.
  const followReplyTo = (to: string | undefined): Effect.Effect<void> =>
    Effect.suspend(() => {
      const unsent: Array<Call> = []
      for (const call of calls.all()) {
        if (call.sentTo === undefined) unsent.push(call)
        else if (call.sentTo !== to) unknown(call, "the connection that its answer was to come by is lost")
      }
      if (to === undefined) return Effect.void
      return Effect.forEach(unsent, (call) => call.sentTo === undefined ? submit(call, to) : Effect.void, {
        discard: true
      })
    })
  yield* Effect.forkScoped(Stream.runForEach(SubscriptionRef.changes(replyTo), followReplyTo), {
    startImmediately: true
  })

  const expire = Effect.suspend(() => {
    const expired: Array<Call> = []
    for (let call = calls.oldest; call !== undefined && call.startedAt + deadline <= now(); call = calls.oldest) {
      fail(
        call,
        new CallError.DeadlineExceeded({ service: name, millis: deadline, wasSent: call.sentTo !== undefined })
      )
      expired.push(call)
    }
    return Effect.forEach(expired, interrupt, { discard: true })
  })
  if (deadline !== Infinity) {
    // All deadlines have the same length, so that only the oldest call needs a timer.
    yield* Effect.suspend(() => {
      const { oldest } = calls
      const wait = oldest === undefined ? deadline : Math.max(1, oldest.startedAt + deadline - now())
      return Effect.andThen(Effect.sleep(Math.min(wait, longest)), expire)
    }).pipe(Effect.forever, Effect.forkScoped)
  }

  const ping = (queue: string, onUnroutable: Effect.Effect<void>): Effect.Effect<void> =>
    controls.submit(
      { routingKey: queue, body: bytes(""), type: "ping", persistent: false, expiration: livenessInterval },
      ({ reason }) => reason._tag === "Unroutable" ? onUnroutable : Effect.void
    )
  // By then a server that has the call has said so, twice.
  const isLost = (call: Call): boolean =>
    call.sentTo !== undefined && call.server === undefined && call.sentAt + 3 * livenessInterval < now()
  const serviceGone = Effect.sync(() => {
    for (const call of calls.all()) {
      if (isLost(call)) unknown(call, "the last server has left, and the queue of requests with it")
    }
  })
  const sweep = Effect.suspend(() => {
    if (calls.size === 0) return Effect.void
    const all = calls.all()
    const servers = new Set(all.flatMap(({ server }) => server === undefined ? [] : [server]))
    return Effect.andThen(
      Effect.forEach(servers, (server) => ping(server, serverGone(server)), { discard: true }),
      service.whenNoServer === "fail" && all.some(isLost) ? ping(service.queue.name, serviceGone) : Effect.void
    )
  })
  yield* sweep.pipe(Effect.delay(livenessInterval), Effect.forever, Effect.forkScoped)

  return { send, supportsAck: true, supportsTransferables: false, codecFor: serialization.codecFor }
})

/**
 * The consuming program: what is published is handled by a consumer that lives through outages, and what cannot be
 * handled is dead-lettered into a queue of its own.
 */
import { Data, Duration, Effect, Layer, Queue, Schedule } from "effect"
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpTopology } from "effect-amqp"
import type { AmqpDelivery, AmqpError, AmqpPublisher } from "effect-amqp"
import * as Publishing from "./Publishing.ts"
import type { Received } from "./Reporter.ts"
import { Reporter } from "./Reporter.ts"

/** The exchange of the messages. */
export const exchange = AmqpTopology.exchange("my_work_exchange")

/** The exchange of messages that could not be handled. */
export const deadLetterExchange = AmqpTopology.exchange("my_dead_letter_exchange", { type: "fanout" })

/** The queue in which messages wait to be handled. */
export const queue = AmqpTopology.queue("my_work_queue", {
  type: "quorum",
  deadLetterExchange,
  // A quorum queue then keeps a message until the dead letter queue has confirmed it.
  overflow: "reject-publish",
  arguments: { "x-dead-letter-strategy": "at-least-once" }
})

/** The queue of messages that could not be handled. */
export const deadLetterQueue = AmqpTopology.queue("my_dead_letter_queue", { type: "quorum" })

const routingKey = "my_work"
const retryMillis = 500

/** The whole topology as one value. */
export const topology = AmqpTopology.make(
  exchange,
  deadLetterExchange,
  queue,
  deadLetterQueue,
  AmqpTopology.bind(queue, exchange, routingKey),
  AmqpTopology.bind(deadLetterQueue, deadLetterExchange)
)

// AmqpConsumer.retry declares the last two queues.
const queues = [queue.name, deadLetterQueue.name, `${queue.name}.retry.${retryMillis}`, `${queue.name}.parked`]

const removeAll = Effect.fnUntraced(function*(channel: AmqpChannel.AmqpChannel) {
  yield* Effect.forEach(queues, (name) => channel.deleteQueue(name), { discard: true })
  yield* Effect.forEach([exchange, deadLetterExchange], (one) => channel.deleteExchange(one), { discard: true })
})

/** Empties the broker before the run, because a run that was killed leaves its messages, and after the run. */
const tidy = Layer.effectDiscard(Effect.gen(function*() {
  const channel = yield* AmqpChannel.make()
  yield* removeAll(channel)
  // A broker that is away keeps its queues until the next run.
  yield* Effect.addFinalizer(() => Effect.ignore(Effect.timeout(removeAll(channel), "2 seconds")))
}))

/** Declares the topology on every session, and removes it when it is released. */
export const layer = AmqpTopology.layer(topology).pipe(Layer.provide(tidy))

/** The handler does not know this kind of message, and will not know it at the next try. */
export class NotAGreeting extends Data.TaggedError("NotAGreeting") {
  override get message(): string {
    return "it is not a greeting"
  }
}

/** A service that the handler needs is away at the moment. */
export class Unavailable extends Data.TaggedError("Unavailable") {
  override get message(): string {
    return "nobody was there to be greeted"
  }
}

/** Confirmed messages were neither handled nor dead-lettered although a consumer was attached. */
export class Unsettled extends Data.TaggedError("Unsettled")<{ readonly count: number }> {
  override get message(): string {
    return `${this.count} of the confirmed messages were neither handled nor dead-lettered`
  }
}

/** Options of a run that publishes and consumes. */
export interface Options<R> extends Publishing.Options<R> {
  /** The time that the handler works on a message. */
  readonly work: Duration.Duration
}

// Of ten messages, one fails at each try, and another one at its first try.
const isPoison = (n: number) => n % 10 === 3
const isUnlucky = (n: number) => n % 10 === 6

const messageOf = (n: number) => ({
  exchange,
  routingKey,
  headers: { unlucky: isUnlucky(n) },
  body: isPoison(n) ? `Goodbye World! - ${n}` : `Hello World! - ${n}`
})

const receive = (delivery: AmqpDelivery.Delivery) =>
  Effect.map(delivery.text, (body): Received => ({ messageId: delivery.messageId ?? body, body }))

// The longest silence, beside the work of a handler, before missing messages count as lost.
const patience = Duration.seconds(30)

/**
 * Publishes messages and handle them, until each that was confirmed was handled or dead-lettered.
 *
 * Fails when the connection gave up, when a consumer cannot come back, and with {@link Unsettled}. Interrupted, it
 * waits for the outcome of the message that is being published and for the handlers that run.
 */
export const run = Effect.fnUntraced(function*<R>(
  options: Options<R>
): Effect.fn.Return<
  void,
  AmqpError.AmqpError | Unsettled,
  AmqpConnection.AmqpConnection | AmqpPublisher.AmqpPublisher | Reporter | R
> {
  const connection = yield* AmqpConnection.AmqpConnection
  const { report } = yield* Reporter
  const handled = new Map<string, number>()
  const deadLettered = new Set<string>()
  const progress = yield* Queue.sliding<void>(1)

  const handle = Effect.fnUntraced(function*(delivery: AmqpDelivery.Delivery) {
    const message = yield* receive(delivery)
    yield* Effect.sleep(options.work)
    const failure = !message.body.startsWith("Hello")
      ? new NotAGreeting()
      : delivery.headers.unlucky === true && delivery.attempts === 1
      ? new Unavailable()
      : undefined
    if (failure !== undefined) {
      const willRetry = failure._tag === "Unavailable"
      yield* report({ _tag: "HandlerFailed", message, reason: failure.message, willRetry })
      return yield* failure
    }
    const times = (handled.get(message.messageId) ?? 0) + 1
    handled.set(message.messageId, times)
    yield* report({ _tag: "Handled", message, times })
    yield* Queue.offer(progress, undefined)
  })

  const noteDeadLetter = Effect.fnUntraced(function*(delivery: AmqpDelivery.Delivery) {
    const message = yield* receive(delivery)
    deadLettered.add(message.messageId)
    yield* report({ _tag: "DeadLettered", message })
    yield* Queue.offer(progress, undefined)
  })

  const later = AmqpConsumer.retry(Schedule.spaced(retryMillis).pipe(Schedule.upTo({ times: 3 })))
  const consume = Effect.all([
    AmqpConsumer.run(deadLetterQueue, noteDeadLetter),
    AmqpConsumer.run(queue, handle, {
      concurrency: 4,
      onFailure: (error) => error._tag === "Unavailable" ? later : "deadLetter"
    })
  ], { concurrency: "unbounded", discard: true })

  const publishAndWait = Effect.gen(function*() {
    const confirmed = yield* Publishing.publishAll(messageOf, options)
    for (;;) {
      const missing = confirmed.filter((id) => !handled.has(id) && !deadLettered.has(id))
      if (missing.length === 0) return
      const isQuiet = yield* Queue.take(progress).pipe(
        Effect.as(false),
        Effect.timeoutOrElse({ duration: Duration.sum(patience, options.work), orElse: () => Effect.succeed(true) })
      )
      // Messages of a detached consumer are delayed and not lost.
      const { consumers } = yield* connection.health
      if (isQuiet && consumers.every((consumer) => consumer._tag === "Attached")) {
        return yield* new Unsettled({ count: missing.length })
      }
    }
  })

  yield* Effect.raceFirst(publishAndWait, Effect.raceFirst(consume, connection.finished))
})

/**
 * The queues of a retry with delay: one for each distinct delay, and one for what is parked. They may be there already,
 * made by an earlier release or by an operator; what does the job is used as it is.
 */
import * as Effect from "effect/Effect"
import type { Arguments } from "../../AmqpDriver.ts"
import { noChannelEvents } from "../../AmqpDriver.ts"
import type { AmqpError, TopologyMismatch } from "../../AmqpError.ts"
import type { HeaderValue } from "../../AmqpMessage.ts"
import type { Queue } from "../../AmqpTopology.ts"
import * as AmqpTopology from "../../AmqpTopology.ts"
import * as BrokerVersion from "../connection/brokerVersion.ts"
import type { QueueLike } from "../connection/queueName.ts"
import { labelOf } from "../connection/queueName.ts"
import type { Session } from "../connection/session.ts"
import type { QueueType } from "./traits.ts"

/**
 * Names and arguments of the queues of a retry; all of it optional.
 *
 * @category options
 * @since 0.2.0
 */
export interface RetryOptions {
  /** Names the queue that messages wait in, by its delay in milliseconds. Defaults to `<queue>.retry.<milliseconds>`. */
  readonly waitQueue?: ((delay: number) => string) | undefined
  /** The queue that messages are parked in. Defaults to `<queue>.parked`. */
  readonly parkingQueue?: string | undefined
  /** Other arguments of these queues, such as `x-max-length`. */
  readonly arguments?: Arguments | undefined
}

/** The queues of a schedule. */
export interface RetryQueues {
  readonly wait: ReadonlyArray<Queue>
  readonly parking: Queue
  readonly waitQueueOf: (delay: number) => string
}

/**
 * Makes the queues of some delays. Those of a quorum queue or a stream are quorum queues: RabbitMQ before 4.0 loses what
 * another queue dead-letters to a stream.
 */
export const make = (
  queue: QueueLike,
  delays: ReadonlyArray<number>,
  options: RetryOptions,
  type: QueueType
): RetryQueues => {
  const name = labelOf(queue)
  const durable = typeof queue === "string" || queue._tag === "ServerNamedQueue" || queue.durable
  const isReplicated = type === "quorum" || type === "stream"
  const waitQueueOf = options.waitQueue ?? ((delay: number) => `${name}.retry.${delay}`)
  const own = options.arguments ?? {}
  return {
    wait: Array.from(new Set(delays), (delay) =>
      AmqpTopology.queue(waitQueueOf(delay), {
        messageTtl: delay,
        deadLetterExchange: "",
        deadLetterRoutingKey: name,
        // A quorum queue keeps a message until the queue that it goes back to has confirmed it.
        ...(isReplicated
          ? {
            type: "quorum",
            overflow: "reject-publish",
            arguments: { ...own, "x-dead-letter-strategy": "at-least-once" }
          }
          : { durable, arguments: own })
      })),
    parking: AmqpTopology.queue(
      options.parkingQueue ?? `${name}.parked`,
      isReplicated ? { type: "quorum", arguments: own } : { durable, arguments: own }
    ),
    waitQueueOf
  }
}

// Without these a message would not wait as long as it should, or would not come back to its queue.
const essential: ReadonlySet<string> = new Set([
  "x-message-ttl",
  "x-dead-letter-exchange",
  "x-dead-letter-routing-key",
  "auto_delete",
  "exclusive"
])

// RabbitMQ before 4.0 loses what is dead-lettered to a stream, unless it goes at least once.
const essentialOfStreams: ReadonlySet<string> = new Set([
  ...essential,
  "x-queue-type",
  "x-overflow",
  "x-dead-letter-strategy"
])

/** What the broker has, read from its text: `none`, `the value '5' of type 'signedint'`, or `'true'`. */
const actualOf = ({ actual }: TopologyMismatch): string | number | boolean | undefined => {
  const [, value, type] = /^(?:the value )?'(.*?)'(?: of type '(\w+)')?/s.exec(actual) ?? []
  if (value === undefined) return undefined
  if (value === "true" || value === "false") return value === "true"
  return type !== "longstr" && /^-?\d+$/.test(value) ? Number(value) : value
}

// What a queue of another type is refused with.
const ofTypeAlone: ReadonlySet<string> = new Set(["x-dead-letter-strategy", "x-delivery-limit"])

const withActual = (queue: Queue, mismatch: TopologyMismatch): Queue => {
  const actual = actualOf(mismatch)
  if (mismatch.argument === "durable") return { ...queue, durable: actual === true }
  const kept = Object.entries(queue.arguments).filter(([name]) =>
    name !== mismatch.argument && !(mismatch.argument === "x-queue-type" && ofTypeAlone.has(name))
  )
  const found: ReadonlyArray<readonly [string, HeaderValue]> = actual === undefined ? [] : [[mismatch.argument, actual]]
  return { ...queue, arguments: Object.fromEntries([...kept, ...found]) }
}

// As many differences as a queue can have: each is told by a refusal of its own.
const maxDifferences = 12

const declareOnce = (session: Session, { _tag, name, ...properties }: Queue): Effect.Effect<void, AmqpError> =>
  // A refusal closes its channel.
  Effect.scoped(
    Effect.flatMap(session.openChannel({ confirm: false }, noChannelEvents), (channel) =>
      Effect.asVoid(session.bounded(`declareQueue ${name}`, channel.declareQueue({ queue: name, ...properties }))))
  )

const lookOnce = (session: Session, { name }: Queue): Effect.Effect<void, AmqpError> =>
  Effect.scoped(
    Effect.flatMap(session.openChannel({ confirm: false }, noChannelEvents), (channel) =>
      Effect.asVoid(session.bounded(`checkQueue ${name}`, channel.checkQueue(name))))
  )

/** Declares a queue, or finds that what is there does its job; fails with `TopologyMismatch` where it does not. */
const provide = Effect.fnUntraced(function*(
  session: Session,
  queue: Queue,
  needed: ReadonlySet<string>
): Effect.fn.Return<void, AmqpError> {
  let wanted = queue
  const differences: Array<string> = []
  for (;;) {
    const error = yield* Effect.matchEffect(declareOnce(session, wanted), {
      onSuccess: () => Effect.undefined,
      onFailure: (error) => Effect.succeed(error)
    })
    if (error === undefined) break
    const { reason } = error
    if (reason._tag === "AccessRefused") {
      // A user without the permission to configure uses what an operator has made.
      const absent = yield* Effect.flip(lookOnce(session, queue)).pipe(Effect.catch(() => Effect.undefined))
      if (absent === undefined) return
      return yield* absent.reason._tag === "NotFound" && !absent.reason.nodeDown ? error : absent
    }
    const isUsable = reason._tag === "TopologyMismatch" && !needed.has(reason.argument) &&
      differences.length < maxDifferences
    if (!isUsable) return yield* error
    differences.push(`${reason.argument}: ${reason.actual}`)
    wanted = withActual(wanted, reason)
  }
  if (differences.length > 0) {
    yield* Effect.logInfo("AMQP retry uses a queue that is there with other arguments", {
      queue: queue.name,
      differences: differences.join(", ")
    })
  }
})

/** Declares the queues of a retry on a session, and uses what is there of them. */
export const provideOn = (
  session: Session,
  queues: ReadonlyArray<Queue>,
  parking: string,
  type: QueueType
): Effect.Effect<void, AmqpError> => {
  const losesOnTheWay = type === "stream" && !BrokerVersion.isRabbitMqSince(session.driver, 4, 0)
  return Effect.forEach(
    queues,
    (queue) => {
      // Each look at a parked message counts as a delivery; RabbitMQ before 4.0 would drop it at the first, by -1.
      const isForLooking = queue.name === parking && queue.arguments["x-queue-type"] === "quorum" &&
        queue.arguments["x-delivery-limit"] === undefined && BrokerVersion.isRabbitMqSince(session.driver, 4, 0)
      return provide(
        session,
        isForLooking ? { ...queue, arguments: { ...queue.arguments, "x-delivery-limit": -1 } } : queue,
        losesOnTheWay && queue.name !== parking ? essentialOfStreams : essential
      )
    },
    { discard: true }
  )
}

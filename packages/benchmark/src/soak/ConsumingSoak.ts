/**
 * Publishes to four queues and consumes from them while faults hit the broker: a worker with concurrency and retry, one
 * with `orderedBy`, a batch and a stream. In the end each must have handled every confirmed message.
 */
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import type { RabbitMqError, RabbitMqUnavailable } from "effect-amqp-test-rig/RabbitMqError"
import * as AmqpConnection from "effect-amqp/AmqpConnection"
import * as AmqpConsumer from "effect-amqp/AmqpConsumer"
import type { Delivery } from "effect-amqp/AmqpDelivery"
import type { AmqpError } from "effect-amqp/AmqpError"
import * as AmqpPublisher from "effect-amqp/AmqpPublisher"
import * as AmqpTopology from "effect-amqp/AmqpTopology"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { drain } from "./drain.ts"
import type { Fault } from "./faults.ts"
import * as Load from "./load.ts"
import { Oracle } from "./Oracle.ts"
import type { Outcome } from "./Soak.ts"
import { confirmedMoreThan } from "./Soak.ts"

/** The faults of a soak with consumers, and its load. */
export interface Options {
  readonly faults: Iterable<readonly [pauseMillis: number, fault: Fault]>
  /** The time after which no fault begins. Without it, `faults` must end. */
  readonly minutes?: number | undefined
  readonly queueType: "classic" | "quorum"
  /** Messages offered a second, each of which goes to four queues. */
  readonly rate: number
  /** Publishes persistent messages. `false`, with classic queues, is the negative control, which must lose some. */
  readonly persistent: boolean
  /** How long a handler takes. */
  readonly handlerMillis: number
  readonly onProgress?: ((what: string) => void) | undefined
}

const kinds = ["retry", "ordered", "batch", "stream"] as const
type Kind = typeof kinds[number]

const confirmTimeout = "60 seconds"

/** Messages whose first try fails, and messages whose every try fails, which are parked. */
const failsOnce = (id: number): boolean => id % 50 === 0
const failsAlways = (id: number): boolean => id % 997 === 0

/** Runs a soak with consumers on a broker of its own. */
export const run = (
  options: Options
): Effect.Effect<Outcome, AmqpError | RabbitMqError | RabbitMqUnavailable> =>
  Effect.scoped(Effect.gen(function*() {
    const { handlerMillis, persistent, queueType, rate } = options
    const begun = performance.now()
    const tell = options.onProgress ?? (() => {})
    const broker = yield* RabbitMq.make()
    const oracle = new Oracle()
    const exchange = AmqpTopology.exchange("soak", { type: "fanout" })
    const queues = Object.fromEntries(
      kinds.map((kind) => [kind, AmqpTopology.queue(`soak.${kind}`, { type: queueType })])
    ) as Record<Kind, AmqpTopology.Queue>
    const services = AmqpPublisher.layer({ confirmTimeout }).pipe(
      Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(
        exchange,
        ...kinds.map((kind) => queues[kind]),
        ...kinds.map((kind) => AmqpTopology.bind(queues[kind], exchange, ""))
      ))),
      Layer.provideMerge(
        AmqpConnection.layer({ endpoints: broker.url, retry: { interval: "200 millis", max: 100_000 } })
      )
    )
    const context = yield* Layer.build(services)

    // How often each consumer finished a message, by the number of the message.
    const handled: Record<Kind, Map<number, number>> = {
      retry: new Map(),
      ordered: new Map(),
      batch: new Map(),
      stream: new Map()
    }
    const idOf = (delivery: Delivery) => Load.idOf(Buffer.from(delivery.body))
    const note = (kind: Kind, id: number) => void handled[kind].set(id, (handled[kind].get(id) ?? 0) + 1)
    const handle = (kind: Kind) => (delivery: Delivery) =>
      Effect.andThen(Effect.sleep(handlerMillis), Effect.sync(() => note(kind, idOf(delivery))))
    const consumers = [
      AmqpConsumer.run(queues.retry, (delivery) => {
        const id = idOf(delivery)
        return failsAlways(id) || (failsOnce(id) && delivery.attempts === 1)
          ? Effect.fail("not yet")
          : handle("retry")(delivery)
      }, {
        concurrency: 10,
        onFailure: AmqpConsumer.retry(Schedule.spaced("500 millis").pipe(Schedule.upTo({ times: 2 })))
      }),
      AmqpConsumer.run(queues.ordered, handle("ordered"), {
        concurrency: 10,
        orderedBy: (delivery) => String(idOf(delivery) % 16)
      }),
      AmqpConsumer.runBatch(queues.batch, (batch) =>
        Effect.andThen(
          Effect.sleep(handlerMillis),
          Effect.sync(() => batch.forEach((delivery) => note("batch", idOf(delivery))))
        ), { size: 50, within: "100 millis" }),
      AmqpConsumer.stream(queues.stream).pipe(
        Stream.mapEffect((delivery) => Effect.andThen(handle("stream")(delivery), delivery.ack()), { concurrency: 10 }),
        Stream.runDrain
      )
    ]
    yield* Effect.forEach(consumers, (consumer) => Effect.forkScoped(Effect.provideContext(consumer, context)))

    const load = yield* Load.start(yield* Effect.provideContext(AmqpPublisher.AmqpPublisher, context), {
      exchange: exchange.name,
      queue: "",
      rate,
      persistent
    }, oracle)
    // RabbitMQ 3.10 can lose a quorum queue that was declared less than a second before it is killed.
    yield* Effect.sleep("2 seconds")
    for (const [pause, fault] of options.faults) {
      yield* Effect.sleep(pause)
      if (options.minutes !== undefined && performance.now() - begun > options.minutes * 60_000) break
      tell(`${fault.name}, ${oracle.confirmed} confirmed`)
      yield* fault.run(broker)
      yield* Effect.timeoutOption(confirmedMoreThan(oracle, oracle.confirmed), confirmTimeout)
    }
    tell(`waiting for the last confirms, ${oracle.confirmed} confirmed`)
    yield* load.finish
    tell("waiting for the consumers")
    const parked = "soak.retry.parked"
    // A quorum queue that forwards a message before its target has a leader tries again after 3 minutes.
    yield* Effect.all([broker.counts, Effect.orElseSucceed(broker.queueDepth(parked), () => ({ ready: 0 }))]).pipe(
      Effect.repeat({
        schedule: Schedule.spaced("500 millis"),
        until: ([counts, { ready }]) => counts.messagesUnacked === 0 && counts.messagesReady === ready
      }),
      Effect.timeoutOption("8 minutes")
    )
    yield* Effect.promise(() =>
      drain(broker.url, parked, (body) => {
        const id = Load.idOf(body)
        if (failsAlways(id)) note("retry", id)
      })
    ).pipe(Effect.ignoreCause)

    for (const kind of kinds) {
      const missing = oracle.missingOf(handled[kind])
      if (missing.length > 0) tell(`${kind} has not handled ${missing.length}: ${missing.slice(0, 20).join(", ")}`)
    }
    const findings = oracle.findingsOf(kinds.map((kind) => handled[kind]))
    return {
      ...findings,
      republished: 0,
      seconds: (performance.now() - begun) / 1000,
      sound: findings.lost === 0 && findings.unexpected === 0 && findings.notSettledOnce === 0
    }
  })).pipe(
    // The soak itself breaks the connection, so the library's warnings about it are no news.
    Effect.provideService(References.MinimumLogLevel, "None")
  )

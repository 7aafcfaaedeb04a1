/**
 * Publishes at a steady rate while the broker is killed and restarted, or closes its connections, again and again. In
 * the end every confirmed message must be in the queue.
 */
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import type { RabbitMqError, RabbitMqUnavailable } from "effect-amqp-test-rig/RabbitMqError"
import * as AmqpConnection from "effect-amqp/AmqpConnection"
import type { AmqpError } from "effect-amqp/AmqpError"
import * as AmqpPublisher from "effect-amqp/AmqpPublisher"
import * as AmqpTopology from "effect-amqp/AmqpTopology"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import { drain } from "./drain.ts"
import * as Load from "./load.ts"
import type { Findings } from "./Oracle.ts"
import { Oracle } from "./Oracle.ts"

/** The fault of a soak, its number, and the load. */
export interface Options {
  /** `kill` is SIGKILL and a restart; `close` closes every connection as an operator would. */
  readonly fault: "kill" | "close"
  readonly queueType: "classic" | "quorum"
  readonly cycles: number
  /** Messages offered a second. */
  readonly rate: number
  /** Publishes persistent messages. `false` is the negative control, which must lose some. */
  readonly persistent: boolean
  /** Called with a line for each event. */
  readonly onProgress?: ((what: string) => void) | undefined
}

/** The result of a soak. */
export interface Outcome extends Findings {
  /** Messages that were written again because their confirm had not come. */
  readonly republished: number
  readonly seconds: number
  /** True when no confirmed message is lost, none is unexpected, and every publish has one outcome. */
  readonly sound: boolean
}

const queue = "soak"

// Longer than any restart: messages in flight when the broker dies are confirmed after its restart.
const confirmTimeout = "60 seconds"

/** Runs a soak on a broker of its own. */
export const run = (
  options: Options
): Effect.Effect<Outcome, AmqpError | RabbitMqError | RabbitMqUnavailable> =>
  Effect.scoped(Effect.gen(function*() {
    const begun = performance.now()
    const tell = options.onProgress ?? (() => {})
    const broker = yield* RabbitMq.make()
    const oracle = new Oracle()
    const republishedBefore = yield* republished

    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(
      AmqpPublisher.layer({ confirmTimeout }).pipe(
        Layer.provide(
          AmqpTopology.layer(AmqpTopology.make(AmqpTopology.queue(queue, { type: options.queueType })))
        ),
        Layer.provide(AmqpConnection.layer({ endpoints: broker.url, retry: { interval: "200 millis", max: 1000 } }))
      ),
      scope
    )
    yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
    const load = yield* Load.start(yield* Effect.provideContext(AmqpPublisher.AmqpPublisher, context), {
      queue,
      rate: options.rate,
      persistent: options.persistent
    }, oracle)

    for (let cycle = 1; cycle <= options.cycles; cycle++) {
      // RabbitMQ 3.10 can lose a quorum queue that was declared less than a second before it is killed.
      yield* Effect.sleep(options.fault === "kill" ? "1500 millis" : "400 millis")
      tell(`${options.fault} ${cycle} of ${options.cycles}, ${oracle.confirmed} confirmed`)
      if (options.fault === "close") yield* broker.closeAllConnections("soak")
      else {
        yield* broker.kill
        yield* broker.start
      }
      yield* Effect.timeoutOption(confirmedMoreThan(oracle, oracle.confirmed), confirmTimeout)
    }
    tell(`waiting for the last confirms, ${oracle.confirmed} confirmed`)
    yield* load.finish
    tell("draining")
    yield* Effect.promise(() => drain(broker.url, queue, (body) => oracle.onDrained(Load.idOf(body))))

    const findings = oracle.findings()
    return {
      ...findings,
      republished: (yield* republished) - republishedBefore,
      seconds: (performance.now() - begun) / 1000,
      sound: findings.lost === 0 && findings.unexpected === 0 && findings.notSettledOnce === 0
    }
  })).pipe(
    // The soak itself breaks the connection, so the library's warnings about it are no news.
    Effect.provideService(References.MinimumLogLevel, "None")
  )

/** Waits before each fault until the publisher is at work again. */
export const confirmedMoreThan = (oracle: Oracle, before: number): Effect.Effect<void> =>
  Effect.suspend(() =>
    oracle.confirmed > before
      ? Effect.void
      : Effect.andThen(Effect.sleep(20), confirmedMoreThan(oracle, before))
  )

const republished: Effect.Effect<number> = Effect.map(
  Metric.snapshot,
  (metrics) =>
    metrics.reduce(
      (sum, metric) =>
        metric.id === "amqp_publisher_republished" ? sum + Number((metric.state as { count: number }).count) : sum,
      0
    )
)

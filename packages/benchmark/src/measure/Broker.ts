/**
 * The RabbitMQ of the benchmarks: the broker that `AMQP_URL` names, or a node of the test rig, with the durable classic
 * queue of the benchmark and the channel that empties, fills and counts it.
 */
import type { ConfirmChannel } from "amqplib"
import * as amqplib from "amqplib"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import type { RabbitMqError, RabbitMqUnavailable } from "effect-amqp-test-rig/RabbitMqError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** The broker did not do what the benchmark needs. */
export class BrokerFailed extends Data.TaggedError("BrokerFailed")<{
  readonly message: string
  readonly cause: unknown
}> {}

/** A broker with the queue of the benchmark. */
export interface Broker {
  readonly url: string
  readonly version: string
  readonly queue: string
  readonly purge: Effect.Effect<void, BrokerFailed>
  /** Puts `count` persistent messages into the queue, and waits until they are confirmed. */
  readonly fill: (count: number, bodyBytes: number) => Effect.Effect<void, BrokerFailed>
}

/**
 * Makes a broker with a queue, which is deleted with the scope. The broker ends with the scope too, unless `AMQP_URL`
 * names it.
 */
export const make: Effect.Effect<Broker, BrokerFailed | RabbitMqError | RabbitMqUnavailable, Scope.Scope> = Effect.gen(
  function*() {
    const url = process.env["AMQP_URL"] ?? (yield* RabbitMq.make()).url
    const { channel, version } = yield* openControl(url)
    const queue = `effect-amqp-benchmark-${crypto.randomUUID().slice(0, 8)}`
    yield* Effect.acquireRelease(
      attempt("declare the queue", () => channel.assertQueue(queue, { durable: true })),
      () => Effect.ignore(attempt("delete the queue", () => channel.deleteQueue(queue)))
    )
    return {
      url,
      version,
      queue,
      purge: Effect.asVoid(attempt("purge the queue", () => channel.purgeQueue(queue))),
      fill: (count, bodyBytes) =>
        attempt("fill the queue", async () => {
          const body = Buffer.alloc(bodyBytes, "effect-amqp ")
          const options = { persistent: true, messageId: "0", contentType: "application/octet-stream" }
          for (let i = 0; i < count; i++) {
            if (!channel.publish("", queue, body, options)) {
              await new Promise<void>((resolve) => channel.once("drain", resolve))
            }
          }
          await channel.waitForConfirms()
        })
    }
  }
)

const attempt = <A>(what: string, run: () => Promise<A>): Effect.Effect<A, BrokerFailed> =>
  Effect.tryPromise({
    try: run,
    catch: (cause) => new BrokerFailed({ message: `the broker did not ${what}: ${String(cause)}`, cause })
  })

const openControl = (
  url: string
): Effect.Effect<{ readonly channel: ConfirmChannel; readonly version: string }, BrokerFailed, Scope.Scope> =>
  Effect.acquireRelease(
    attempt("let the benchmark connect", async () => {
      const connection = await amqplib.connect(url, { noDelay: true })
      connection.on("error", () => {})
      const channel = await connection.createConfirmChannel()
      channel.on("error", () => {})
      const server = (connection.connection as unknown as { readonly serverProperties: { readonly version?: string } })
        .serverProperties
      return { connection, channel, version: server.version ?? "unknown" }
    }),
    ({ connection }) => Effect.ignore(attempt("close", () => connection.close()))
  )

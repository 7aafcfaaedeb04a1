/**
 * The layers of the programs: a connection whose states are reported, the topology, and a publisher.
 */
import { Effect, FiberSet, Layer, Schedule, Stream } from "effect"
import type { Duration, Redacted } from "effect"
import { AmqpConnection, AmqpPublisher } from "effect-amqp"
import type { AmqpError } from "effect-amqp"
import { Reporter } from "./Reporter.ts"

/** The broker, and the retries of the connection. */
export interface Options {
  /** The URL of the broker. Defaults to the library's own default, where the embedded broker answers too. */
  readonly endpoints?: ReadonlyArray<Redacted.Redacted> | undefined
  readonly confirmTimeout: Duration.Input
  /** The pause between two attempts to connect. */
  readonly retryInterval: Duration.Input
  /** The largest number of attempts to reconnect in one outage. */
  readonly retryMax: number
}

// A broker that is not there at the start is more likely a wrong URL than an outage.
const startupRetries = 10

const connect = Effect.fnUntraced(function*(options: Options) {
  const { report } = yield* Reporter

  // Built before the connection and so released after it: the last state is reported too.
  const watchers = yield* FiberSet.make<void>()
  yield* Effect.addFinalizer(() => FiberSet.awaitEmpty(watchers))

  const connection = yield* AmqpConnection.make({
    endpoints: options.endpoints,
    connectionName: "effect-amqp-example",
    retry: { interval: options.retryInterval, max: options.retryMax },
    startup: Schedule.spaced(options.retryInterval).pipe(
      Schedule.upTo({ times: Math.min(options.retryMax, startupRetries) }),
      Schedule.setInputType<AmqpError.AmqpError>(),
      Schedule.tap(({ input }) => report({ _tag: "ConnectFailed", error: input }))
    )
  })

  const isLast = untilAllAreOver()
  yield* connection.changes.pipe(
    Stream.takeUntil(isLast),
    // A publisher or a consumer that takes a session announces it once more.
    Stream.filter((state) => state.role !== undefined && state._tag !== "Idle"),
    Stream.runForEach((state) => report({ _tag: "ConnectionChanged", state })),
    FiberSet.run(watchers)
  )
  return connection
})

/** True for the last state of the last session: a program that publishes and consumes has two sessions. */
const untilAllAreOver = () => {
  const alive = new Set<AmqpConnection.Role>()
  return ({ _tag, role }: AmqpConnection.State): boolean => {
    const isOver = _tag === "Closed" || _tag === "Failed"
    if (role !== undefined && !isOver) alive.add(role)
    if (role !== undefined && isOver) alive.delete(role)
    return isOver && alive.size === 0
  }
}

/** Connects and declares the topology when built, and closes in order when released. */
export const layer = (
  options: Options,
  topology: Layer.Layer<never, AmqpError.AmqpError, AmqpConnection.AmqpConnection>
) =>
  AmqpPublisher.layer({ confirmTimeout: options.confirmTimeout }).pipe(
    Layer.provide(topology),
    Layer.provideMerge(Layer.effect(AmqpConnection.AmqpConnection, connect(options)))
  )

/**
 * The command line of the partitions: three worker processes on a throw-away RabbitMQ, or on the one that is named; where
 * none can be started, workers in this process on the embedded broker.
 */
import { NodeServices } from "@effect/platform-node"
import { Console, Data, Effect, Layer, Option, Redacted, Result, Runtime } from "effect"
import { AmqpConnection, AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { Command, Flag } from "effect/cli"
import * as CommandLine from "./CommandLine.ts"
import * as Partitioned from "./Partitioned.ts"
import { Board } from "./partitions/Board.ts"
import * as Crew from "./partitions/Crew.ts"

// Something was lost or out of order. The last line has said so.
class Unsound extends Data.TaggedError("Unsound") {
  override readonly [Runtime.errorReported] = false
}

const flags = {
  url: CommandLine.flags.url,
  count: Flag.Int("count").pipe(
    Flag.withDescription("How many messages to publish; 3000 by default"),
    Flag.withDefault(3000)
  ),
  keys: Flag.Int("keys").pipe(Flag.withDescription("How many keys they have; 60 by default"), Flag.withDefault(60)),
  interval: CommandLine.duration("interval", "DEMO_INTERVAL", "4 millis", "The pause between two messages"),
  embedded: Flag.Boolean("embedded").pipe(
    Flag.withoutNegation,
    Flag.withDescription("Use the embedded broker, and workers in this process"),
    Flag.withDefault(false)
  )
}

// The first version that hands partitions over, and otherwise whatever can be had.
const throwAway = Effect.result(Effect.catch(RabbitMq.make({ version: "4.0" }), () => RabbitMq.make()))

Command.make("demo-partitions", flags, ({ embedded, url, ...settings }) =>
  Effect.gen(function*() {
    const board = new Board()
    const hear: Crew.Hear = (name, told) => board.hear(name, told)
    const before = (endpoint: Redacted.Redacted) =>
      Partitioned.run(settings, board, Crew.processes(endpoint, hear)).pipe(
        Effect.scoped,
        Effect.provide(AmqpPublisher.layer().pipe(Layer.provideMerge(AmqpConnection.layer({ endpoints: endpoint }))))
      )
    const within = Partitioned.run(settings, board, Crew.layers(hear)).pipe(
      Effect.scoped,
      Effect.provide(
        AmqpPublisher.layer().pipe(
          Layer.provideMerge(AmqpConnection.layer()),
          Layer.provideMerge(AmqpMemory.layer)
        )
      )
    )
    const node = embedded || Option.isSome(url) ? undefined : yield* throwAway
    const counts = yield* Option.isSome(url)
      ? Effect.andThen(Console.log("on the broker of --url or AMQP_URL"), before(url.value))
      : node !== undefined && Result.isSuccess(node)
      ? Effect.andThen(
        Console.log(`on a RabbitMQ ${node.success.version} of its own`),
        before(Redacted.make(node.success.url))
      )
      : Effect.andThen(
        Console.log(
          node === undefined ? "on the embedded broker" : `on the embedded broker: ${String(node.failure.message)}`
        ),
        within
      )
    yield* Console.log(
      `published ${counts.published}, handled ${counts.handled}, lost ${counts.lost}, out of order ${counts.outOfOrder}`
    )
    if (counts.lost > 0 || counts.outOfOrder > 0) return yield* new Unsound()
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))).pipe(
    Command.withDescription("Workers share partitions: one is killed, one joins, and every key stays in order."),
    CommandLine.main
  )

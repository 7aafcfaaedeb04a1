/**
 * The command line of the shop: opens it, visits it, and closes it in order. With `--serve` it stays open until
 * SIGTERM.
 */
import { Config, Console, Effect, Layer, Option, Queue, Stream } from "effect"
import { AmqpMemory } from "effect-amqp-memory"
import { Command, Flag } from "effect/cli"
import { FetchHttpClient } from "effect/http"
import * as CommandLine from "./CommandLine.ts"
import { Journal } from "./shop/Journal.ts"
import * as Shop from "./shop/Shop.ts"
import * as Telemetry from "./shop/Telemetry.ts"
import * as Visit from "./shop/Visit.ts"

const flags = {
  url: CommandLine.flags.url,
  port: Flag.Int("port").pipe(
    Flag.withDescription("Where the API listens; 0 takes a free port (PORT; by default 0)"),
    Flag.withFallbackConfig(Config.Port("PORT")),
    Flag.withDefault(0)
  ),
  serve: Flag.Boolean("serve").pipe(
    Flag.withoutNegation,
    Flag.withDescription("Stay open until SIGTERM or Ctrl-C instead of playing a visit"),
    Flag.withDefault(false)
  )
}

const play = Effect.gen(function*() {
  const lines = yield* Queue.unbounded<string>()
  const journal = Journal.of({
    write: (line) => Effect.andThen(Console.log(line), Effect.asVoid(Queue.offer(lines, line)))
  })
  return { journal, lines }
})

const open = Effect.fnUntraced(function*(lines: Queue.Dequeue<string>, serve: boolean) {
  yield* Console.log(`shop    open at ${yield* Visit.address}`)
  if (serve) return yield* Effect.never
  const placed = yield* Visit.visit
  const handled = yield* Stream.fromQueue(lines).pipe(
    Stream.filter((line) => line.startsWith("worker") && /is (handled|cancelled)/.test(line)),
    Stream.take(placed),
    Stream.runCount,
    Effect.timeout("30 seconds")
  )
  return { placed, handled }
})

Command.make("demo-shop", flags, ({ port, serve, url }) =>
  Effect.gen(function*() {
    const { journal, lines } = yield* play
    const endpoints = Option.match(url, {
      onNone: () => undefined,
      onSome: CommandLine.endpointsOf
    })
    const shop = Layer.mergeAll(Shop.layer({ endpoints, port }), FetchHttpClient.layer).pipe(
      Layer.provideMerge(Layer.succeed(Journal, journal)),
      Layer.provide(Telemetry.layer)
    )
    const run = Effect.ensuring(Effect.provide(open(lines, serve), shop), Console.log("shop    closed in order"))
    yield* Console.log(
      endpoints === undefined
        ? "without --url and AMQP_URL: on the embedded broker"
        : "on the broker of --url or AMQP_URL"
    )
    const { handled, placed } = yield* (endpoints === undefined ? Effect.provide(run, AmqpMemory.layer) : run)
    yield* Console.log(`published ${placed}, handled ${handled}, failed ${placed - handled}`)
  })).pipe(
    Command.withDescription("A small shop: an HTTP API publishes orders by contract, and a worker handles them."),
    CommandLine.main
  )

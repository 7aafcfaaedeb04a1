/**
 * The program that calls: a client and two servers of a service, one of which is killed while it has calls and a stream.
 * Its calls go to the other server by themselves; the stream says that its server is gone, and is read on from where it
 * was.
 */
import { Console, Effect, Layer, Schema, Stream } from "effect"
import { AmqpConnection } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { AmqpRpc } from "effect-amqp-rpc"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"

/** What the servers do. */
class Numbers extends RpcGroup.make(
  Rpc.make("Square", {
    payload: { n: Schema.Number },
    success: Schema.Struct({ square: Schema.Number, server: Schema.String })
  }),
  Rpc.make("Count", { payload: { from: Schema.Number, to: Schema.Number }, success: Schema.Number, stream: true })
) {}

const numbers = AmqpRpc.service("my_numbers")

/** Each process has a connection, and a host, of its own. */
const connection = (name: string) =>
  AmqpConnection.layer({ connectionName: name, endpoints: `amqp://guest:guest@${name}.example` })

const server = (name: string) =>
  RpcServer.layer(Numbers).pipe(
    Layer.provide(Numbers.toLayer({
      Square: ({ n }) => Effect.delay(Effect.succeed({ square: n * n, server: name }), "50 millis"),
      Count: ({ from, to }) =>
        Stream.range(from, to).pipe(
          Stream.rechunk(10),
          Stream.tap((n) => n % 10 === 0 ? Effect.sleep("10 millis") : Effect.void)
        )
    })),
    Layer.provide(AmqpRpc.layerServer(numbers, { concurrency: 16, drainTimeout: "1 second" })),
    Layer.provide(connection(name)),
    Layer.provide(RpcSerialization.layerJson)
  )

const client = AmqpRpc.layerClient(numbers, { deadline: "20 seconds" }).pipe(
  Layer.provide(connection("client")),
  Layer.provide(RpcSerialization.layerJson)
)

/** Takes the network away from a server, for good: whatever its handlers do, nobody hears of it. */
const kill = Effect.fnUntraced(function*(name: string) {
  const broker = yield* AmqpMemory.AmqpMemory
  yield* broker.setEndpoint({ host: `${name}.example` }, "refuses")
  yield* broker.cutConnection(name)
  yield* Console.log(`killed server ${name}`)
})

/** Counts calls by how they ended. */
export interface Outcome {
  readonly called: number
  readonly answered: number
  readonly failed: number
}

/** Makes so many calls, the last of which is a stream, and kills a server midway. */
export const run = Effect.fnUntraced(function*(count: number) {
  if (count === 0) return { called: 0, answered: 0, failed: 0 } satisfies Outcome
  const { Count, Square } = yield* RpcClient.make(Numbers)
  const byServer = new Map<string, number>()
  let answered = 0
  let failed = 0

  /** The handler may run twice for a call, which does no harm here. */
  const square = (n: number) =>
    Square({ n }).pipe(
      Effect.filterOrFail(({ square }) => square === n * n),
      Effect.matchEffect({
        onSuccess: ({ server }) =>
          Effect.sync(() => {
            answered++
            byServer.set(server, (byServer.get(server) ?? 0) + 1)
          }),
        onFailure: (error) => {
          failed++
          return Console.log(`call ${n} failed: ${error.message}`)
        }
      })
    )

  /** Reads on where the last server was lost: parts of a stream are not repeated by themselves. */
  const countFrom = (from: number, to: number): Stream.Stream<number, { readonly message: string }> => {
    let next = from
    return Count({ from, to }).pipe(
      Stream.tap((n) => Effect.sync(() => next = n + 1)),
      Stream.catch((error) => AmqpRpc.isOutcomeUnknown(error) ? countFrom(next, to) : Stream.fail(error))
    )
  }
  const items = count * 10
  const stream = countFrom(1, items).pipe(
    Stream.runFold(() => 0, (sum, n) => sum + n),
    Effect.filterOrFail((sum) => sum === items * (items + 1) / 2, () => ({ message: "its sum is wrong" })),
    Effect.matchEffect({
      onSuccess: () => {
        answered++
        return Console.log(`streamed ${items} numbers, each of them once`)
      },
      onFailure: (error) => {
        failed++
        return Console.log(`the stream failed: ${error.message}`)
      }
    })
  )

  const calls = Effect.forEach(
    Array.from({ length: count - 1 }, (_, n) => n),
    (n) => Effect.delay(square(n), n * 10),
    { concurrency: "unbounded", discard: true }
  )
  // Both servers have a share of the calls; the first one has the stream.
  yield* Layer.build(server("one"))
  yield* Effect.all([
    stream,
    calls,
    Effect.delay(Layer.build(server("two")), "50 millis"),
    Effect.delay(kill("one"), count * 5)
  ], { concurrency: "unbounded" })
  for (const [name, squares] of byServer) yield* Console.log(`server ${name} answered ${squares} calls`)
  return { called: count, answered, failed } satisfies Outcome
}, (run) => Effect.scoped(Effect.provide(run, client)))

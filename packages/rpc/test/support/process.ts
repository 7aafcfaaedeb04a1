/**
 * A server, or a client that reads a stream, in a process of its own, so that a test can kill it. Its first line says that
 * it is there.
 */
import { Console, Effect, Layer, Stream } from "effect"
import { AmqpConnection } from "effect-amqp"
import { AmqpRpc } from "effect-amqp-rpc"
import { RpcClient, RpcSerialization } from "effect/rpc"
import { Calc, journal } from "./Calc.ts"
import { serverLayer } from "./Ends.ts"

const [role, url, name] = process.argv.slice(2)
const calc = AmqpRpc.service("calc")
const amqp = Layer.merge(RpcSerialization.layerJson, AmqpConnection.layer({ endpoints: url! }))

const serve = serverLayer(name!, calc, { concurrency: 256 }).pipe(
  Layer.provide([amqp, journal]),
  Layer.tap(() => Console.log("there")),
  Layer.launch
)

const read = Effect.gen(function*() {
  const { Count } = yield* RpcClient.make(Calc)
  let isSaid = false
  yield* Stream.runForEach(Count({ to: 1_000_000 }), (n) => {
    if (isSaid || n < 5000) return Effect.void
    isSaid = true
    return Console.log("there")
  })
}).pipe(Effect.scoped, Effect.provide(AmqpRpc.layerClient(calc)), Effect.provide(amqp))

setInterval(() => {}, 60_000)
Effect.runPromise(role === "server" ? serve : read)

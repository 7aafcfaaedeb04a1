import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Schema } from "effect"
import { AmqpConnection } from "effect-amqp"
import { AmqpRpc } from "effect-amqp-rpc"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"

class Calc extends RpcGroup.make(
  Rpc.make("Add", { payload: { a: Schema.Number, b: Schema.Number }, success: Schema.Number })
) {}

const calc = AmqpRpc.service("calc")

const Server = RpcServer.layer(Calc).pipe(
  Layer.provide(Calc.toLayer({ Add: ({ a, b }) => Effect.succeed(a + b) })),
  Layer.provide(AmqpRpc.layerServer(calc, { concurrency: 64 }))
)

const program = Effect.gen(function*() {
  const client = yield* RpcClient.make(Calc)
  yield* Console.log(yield* client.Add({ a: 1, b: 2 }))
}).pipe(Effect.scoped, Effect.provide(AmqpRpc.layerClient(calc, { deadline: "30 seconds" })))

program.pipe(
  Effect.provide(Server),
  Effect.provide([RpcSerialization.layerJson, AmqpConnection.layerConfig()]),
  NodeRuntime.runMain
)

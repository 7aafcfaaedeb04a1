import * as AmqpRpc from "effect-amqp-rpc/AmqpRpc"
import * as AmqpConnection from "effect-amqp/AmqpConnection"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Rpc from "effect/rpc/Rpc"
import * as RpcClient from "effect/rpc/RpcClient"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Contender } from "./Caller.ts"

class Calc extends RpcGroup.make(
  Rpc.make("Add", { payload: { a: Schema.Number, b: Schema.Number }, success: Schema.Number }),
  Rpc.make("Count", { payload: { to: Schema.Number }, success: Schema.Number, stream: true })
) {}

const handlers = Calc.toLayer({
  Add: ({ a, b }) => Effect.succeed(a + b),
  Count: ({ to }) => Stream.range(1, to, 100)
})

/** effect-amqp-rpc without tracing: requests are acknowledged when their answer is on its way, and deadlines travel. */
export const effectAmqpRpc: Contender = Effect.fnUntraced(function*(url, queue) {
  const service = AmqpRpc.service(queue)
  const context = yield* Layer.build(
    Layer.merge(
      AmqpRpc.layerClient(service).pipe(Layer.provide(AmqpConnection.layer({ endpoints: url }))),
      RpcServer.layer(Calc, { disableTracing: true }).pipe(
        Layer.provide(handlers),
        Layer.provide(AmqpRpc.layerServer(service, { concurrency: 256 })),
        Layer.provide(AmqpConnection.layer({ endpoints: url }))
      )
    ).pipe(Layer.provide(RpcSerialization.layerJson), Layer.orDie)
  )
  const { Add, Count } = yield* RpcClient.make(Calc, { disableTracing: true }).pipe(Effect.provideContext(context))
  const run = Effect.runPromiseWith(yield* Effect.context<never>())
  return {
    call: (count, atOnce) => {
      let next = 0
      const loop = Effect.whileLoop({
        while: () => next < count,
        body: () => {
          const a = next++
          return Effect.map(Add({ a, b: 1 }), (sum) => {
            if (sum !== a + 1) throw new Error(`a wrong answer to call ${a}`)
          })
        },
        step: () => {}
      })
      return run(Effect.orDie(Effect.forEach(Array.from({ length: atOnce }), () => loop, {
        concurrency: "unbounded",
        discard: true
      })))
    },
    stream: (count) => run(Effect.orDie(Stream.runDrain(Count({ to: count }))))
  }
})

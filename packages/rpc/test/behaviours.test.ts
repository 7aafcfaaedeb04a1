import { Effect, Layer } from "effect"
import { AmqpConnection } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { AmqpRpc } from "effect-amqp-rpc"
import * as Patience from "effect-amqp-test-rig/Patience"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import { RpcClient, RpcSerialization, RpcTest } from "effect/rpc"
import { behaviours } from "./support/Behaviours.ts"
import type { Transport } from "./support/Behaviours.ts"
import { Calc, handlers, journal } from "./support/Calc.ts"
import { serverLayer } from "./support/Ends.ts"

const inMemory: Transport = (test) =>
  Effect.flatMap(RpcTest.makeClient(Calc), test).pipe(
    Effect.scoped,
    Effect.provide(Layer.merge(handlers(), AmqpRpc.layerAnyTransport)),
    Effect.provide(journal)
  )

const calc = AmqpRpc.service("calc")

/** A client and a server, each with a connection of its own. */
const overAmqp = (
  connection: () => ReturnType<typeof AmqpConnection.layer>,
  serialization: Layer.Layer<RpcSerialization.RpcSerialization>
): Transport =>
(test) =>
  Effect.flatMap(RpcClient.make(Calc), test).pipe(
    Effect.scoped,
    Effect.provide(AmqpRpc.layerClient(calc, { deadline: Patience.limit }).pipe(Layer.provide(connection()))),
    Effect.provide(serverLayer("server", calc).pipe(Layer.provide(connection()))),
    Effect.provide(serialization),
    Effect.provide(journal)
  )

behaviours("effect's transport in memory", inMemory)

for (
  const [name, serialization] of [
    ["JSON", RpcSerialization.layerJson],
    ["NDJSON", RpcSerialization.layerNdjson],
    ["SchemaBinary", RpcSerialization.layerSchemaBinary()]
  ] as const
) {
  behaviours(
    `the memory broker, in ${name}`,
    (test) => overAmqp(() => AmqpConnection.layer(), serialization)(test).pipe(Effect.provide(AmqpMemory.layer))
  )
}

describeWithSharedBroker("RabbitMQ", () => {
  behaviours("RabbitMQ", (test) =>
    SharedRabbitMq.make.pipe(
      Effect.flatMap(({ url }) =>
        overAmqp(
          () => AmqpConnection.layer({ endpoints: url, operationTimeout: Patience.limit }),
          RpcSerialization.layerJson
        )(test)
      ),
      Effect.scoped
    ))
})

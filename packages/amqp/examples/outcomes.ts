import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"

const orders = AmqpTopology.exchange("orders", { type: "topic" })

const AmqpLive = AmqpPublisher.layer({ confirmTimeout: "5 seconds" }).pipe(
  Layer.provide(AmqpTopology.layer(AmqpTopology.make(orders))),
  Layer.provide(AmqpConnection.layerConfig())
)

const program = Effect.gen(function*() {
  const publisher = yield* AmqpPublisher.AmqpPublisher
  yield* publisher.publish({ exchange: orders, routingKey: "order.42.lost", body: { id: 42 } }).pipe(
    Effect.catchReasons("PublishError", {
      Unroutable: ({ routingKey }) => Effect.log(`nobody is bound to ${routingKey}`),
      ConfirmTimeout: ({ published }) =>
        Effect.log(published === "unknown" ? "the broker may have it: publish it with the same id" : "it has it not")
    })
  )
})

program.pipe(Effect.provide(AmqpLive), NodeRuntime.runMain)

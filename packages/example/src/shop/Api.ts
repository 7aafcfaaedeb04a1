/**
 * The HTTP API of the shop: it publishes by contract, and says whether it is alive and ready.
 *
 * - `POST /orders` and `POST /orders/:id/cancel` answer 202 when RabbitMQ has the message, 503 when it has not;
 * - `GET /healthz` answers 200 until the connection is given up: then only a new process helps;
 * - `GET /readyz` answers 200 while the connection is up and the worker gets messages.
 */
import { Clock, Effect, Layer, Schema } from "effect"
import { AmqpConnection, AmqpContract } from "effect-amqp"
import type { PublishError } from "effect-amqp"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { OrderCancelled, OrderPlaced } from "./Contracts.ts"
import { Journal } from "./Journal.ts"

const NewOrder = Schema.Struct({ id: Schema.Int, item: Schema.NonEmptyString, cents: Schema.Int })
const Cancellation = Schema.Struct({ why: Schema.String })
const OrderId = Schema.Struct({ id: Schema.FiniteFromString.pipe(Schema.check(Schema.isInt())) })

const accepted = HttpServerResponse.jsonUnsafe({ accepted: true }, { status: 202 })
const badRequest = HttpServerResponse.jsonUnsafe({ error: "the body or the path is not what it should be" }, {
  status: 400
})

// `published: "unknown"` tells the client that RabbitMQ may have the message: a second request may repeat it.
const unavailable = ({ message, reason }: PublishError.PublishError) =>
  HttpServerResponse.jsonUnsafe({ error: message, published: reason.published }, { status: 503 })

const placeOrder = Effect.gen(function*() {
  const { write } = yield* Journal
  const order = yield* HttpServerRequest.schemaBodyJson(NewOrder)
  yield* AmqpContract.publish(OrderPlaced, { ...order, placedAt: new Date(yield* Clock.currentTimeMillis) })
  yield* write(`api     order ${order.id} is placed: RabbitMQ confirmed it`)
  return accepted
}).pipe(
  Effect.catchTag("PublishError", (error) => Effect.succeed(unavailable(error))),
  Effect.catch(() => Effect.succeed(badRequest))
)

const cancelOrder = Effect.gen(function*() {
  const { write } = yield* Journal
  const { id } = yield* HttpRouter.schemaPathParams(OrderId)
  const { why } = yield* HttpServerRequest.schemaBodyJson(Cancellation)
  yield* AmqpContract.publish(OrderCancelled, { id, why })
  yield* write(`api     order ${id} is cancelled: RabbitMQ confirmed it`)
  return accepted
}).pipe(
  Effect.catchTag("PublishError", (error) => Effect.succeed(unavailable(error))),
  Effect.catch(() => Effect.succeed(badRequest))
)

const isUp = (tag: AmqpConnection.State["_tag"]) => tag === "Connected" || tag === "Idle"

const health = (isWell: (health: AmqpConnection.Health) => boolean) =>
  Effect.gen(function*() {
    const connection = yield* AmqpConnection.AmqpConnection
    const now = yield* connection.health
    return HttpServerResponse.jsonUnsafe(
      {
        sessions: now.sessions.map(({ _tag }) => _tag),
        consumers: now.consumers.map(({ _tag, queue }) => ({ queue, state: _tag }))
      },
      { status: isWell(now) ? 200 : 503 }
    )
  })

/** The routes of the API. */
export const routes = Layer.mergeAll(
  HttpRouter.add("POST", "/orders", placeOrder),
  HttpRouter.add("POST", "/orders/:id/cancel", cancelOrder),
  HttpRouter.add("GET", "/healthz", health(({ sessions }) => sessions.every(({ _tag }) => _tag !== "Failed"))),
  HttpRouter.add(
    "GET",
    "/readyz",
    health(({ consumers, sessions }) =>
      sessions.every(({ _tag }) => isUp(_tag)) && consumers.every(({ _tag }) => _tag === "Attached")
    )
  )
)

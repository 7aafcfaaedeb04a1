/**
 * A visit to the shop: a few requests of a customer, and their outcomes.
 */
import { Effect } from "effect"
import { AmqpPublisher } from "effect-amqp"
import { HttpClient, HttpClientRequest, HttpServer } from "effect/http"
import { OrderPlaced } from "./Contracts.ts"
import { Journal } from "./Journal.ts"

const items = ["a teapot", "two cups", "a kettle", "a sieve", "a tray"]

/** The URL of the API. */
export const address = Effect.map(
  HttpServer.HttpServer,
  ({ address }) => "port" in address ? `http://127.0.0.1:${address.port}` : address.path
)

/** Places orders, one of them as the first version of the API did, and cancels the last one. Gives their number. */
export const visit = Effect.gen(function*() {
  const { write } = yield* Journal
  const url = yield* address
  const client = yield* HttpClient.HttpClient
  const ask = (path: string, body?: unknown) =>
    client.execute(
      body === undefined
        ? HttpClientRequest.get(url + path)
        : HttpClientRequest.bodyJsonUnsafe(HttpClientRequest.post(url + path), body)
    )

  const ready = yield* ask("/readyz")
  yield* write(`visitor GET /readyz answers ${ready.status}`)
  for (const [index, item] of items.entries()) {
    yield* ask("/orders", { id: index + 1, item, cents: 1250 + index })
  }

  // Some services still send the first version.
  const publisher = yield* AmqpPublisher.AmqpPublisher
  yield* publisher.publish({
    exchange: OrderPlaced.exchange,
    routingKey: "order.6.placed",
    type: OrderPlaced.type,
    body: { id: 6, item: "a jug", euros: 8.5 }
  })
  yield* write("visitor order 6 is placed by a service of version 1")

  yield* ask(`/orders/${items.length}/cancel`, { why: "too slow" })
  const refused = yield* ask("/orders", { id: "seven" })
  yield* write(`visitor POST /orders of nonsense answers ${refused.status}`)
  const alive = yield* ask("/healthz")
  yield* write(`visitor GET /healthz answers ${alive.status}`)
  return items.length + 2
})

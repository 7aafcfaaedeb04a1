/** What must not compile, and which needs a worker has: the check is the compiler's. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Schema, SchemaTransformation } from "effect"
import { AmqpContract } from "effect-amqp"
import type { AmqpConnection, AmqpError, AmqpPublisher, PublishError } from "effect-amqp"
import * as Shop from "../support/Shop.ts"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const holds = <_Proof extends true>() => {}

class Database extends Context.Service<Database, { readonly save: Effect.Effect<void> }>()("test/Database") {}
class Clockwork extends Context.Service<Clockwork, {}>()("test/Clockwork") {}

const Stored = Schema.String.pipe(
  Schema.decodeTo(
    Schema.String,
    SchemaTransformation.transformEffect({
      decode: (text) => Effect.as(Clockwork, text),
      encode: (text) => Effect.succeed(text)
    })
  )
)

describe("the types of AmqpContract", () => {
  it("a worker needs what its handlers and schemas need, and nothing else", () => {
    const worker = AmqpContract.layer(Shop.invoices, [Shop.OrderPaid, Shop.OrderCancelled], {
      "order.paid": () => Effect.flatMap(Database, ({ save }) => save),
      "order.cancelled": () => Effect.fail("no" as const)
    })
    holds<Equals<typeof worker, Layer.Layer<never, AmqpError.AmqpError, AmqpConnection.AmqpConnection | Database>>>()

    const contract = AmqpContract.make("a", { payload: Schema.Struct({ v: Stored }), exchange: Shop.orders, key: "a" })
    const stored = AmqpContract.layer(Shop.invoices, [contract], { a: () => Effect.void })
    holds<Equals<typeof stored, Layer.Layer<never, AmqpError.AmqpError, AmqpConnection.AmqpConnection | Clockwork>>>()

    const earlier = AmqpContract.make("a", {
      payload: Schema.toType(Schema.Struct({ v: Stored })),
      exchange: Shop.orders,
      key: "a",
      version: 2,
      accepts: { 1: Schema.Struct({ v: Stored }) }
    })
    const both = AmqpContract.layer(Shop.invoices, [earlier], { a: () => Effect.void })
    holds<Equals<typeof both, Layer.Layer<never, AmqpError.AmqpError, AmqpConnection.AmqpConnection | Clockwork>>>()

    const publishing = AmqpContract.publish(Shop.OrderCancelled, { id: "1", why: "late" })
    holds<Equals<typeof publishing, Effect.Effect<void, PublishError.PublishError, AmqpPublisher.AmqpPublisher>>>()
    assert.isTrue(Layer.isLayer(worker))
  })

  it("a policy knows the failures of the handlers", () => {
    const worker = AmqpContract.layer(
      Shop.invoices,
      [Shop.OrderPaid],
      { "order.paid": () => Effect.fail("busy" as const) },
      {
        onFailure(error) {
          if (typeof error === "string") {
            holds<Equals<typeof error, "busy">>()
            return "requeue"
          }
          holds<Equals<(typeof error)["_tag"], "DecodeError" | "UnknownMessage" | "HandlerTimeout">>()
          return "deadLetter"
        }
      }
    )
    assert.isTrue(Layer.isLayer(worker))
  })

  it("a missing handler and one too many do not compile", () => {
    const missing = () =>
      // @ts-expect-error the handler of order.cancelled is missing
      AmqpContract.layer(Shop.invoices, [Shop.OrderPaid, Shop.OrderCancelled], { "order.paid": () => Effect.void })
    const tooMany = () =>
      AmqpContract.layer(Shop.invoices, [Shop.OrderPaid], {
        "order.paid": () => Effect.void,
        // @ts-expect-error no contract has the type order.lost
        "order.lost": () => Effect.void
      })
    assert.isFunction(missing)
    assert.isFunction(tooMany)
  })

  it("keys and payloads that do not fit do not compile", () => {
    const payload = Shop.Paid
    const wrong = [
      // @ts-expect-error the payload has no such field
      () => AmqpContract.make("x", { payload, exchange: Shop.orders, key: "order.{customer}.paid" }),
      // @ts-expect-error a Date is no part of a key
      () => AmqpContract.make("x", { payload, exchange: Shop.orders, key: "order.{at}.paid" }),
      // @ts-expect-error a key is no pattern
      () => AmqpContract.make("x", { payload, exchange: Shop.orders, key: "order.*.paid" }),
      () =>
        AmqpContract.make("x", {
          payload,
          exchange: Shop.orders,
          key: "x",
          version: 2,
          // @ts-expect-error the earlier version decodes to another type
          accepts: { 1: Schema.String }
        }),
      // @ts-expect-error the payload is of another contract
      () => AmqpContract.publish(Shop.OrderCancelled, { id: 1 })
    ]
    assert.isTrue(wrong.every((one) => typeof one === "function"))
  })
})

import { Parser } from "@asyncapi/parser"
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { AmqpContract, AmqpTopology, AsyncApi, Codec } from "effect-amqp"
import { readFileSync } from "node:fs"
import { resolve } from "node:path"
import { document } from "../src/shop/Contracts.ts"

const diagnosticsOf = async (made: AsyncApi.Document): Promise<ReadonlyArray<string>> => {
  const { diagnostics } = await new Parser().parse(JSON.stringify(made))
  return diagnostics.map(({ code, message, path }) => `${String(code)}: ${message} (${path.join("/")})`)
}

describe("the AsyncAPI document", () => {
  it("of the shop is the file that pnpm asyncapi writes", () => {
    const file = resolve(import.meta.dirname, "../asyncapi.json")
    assert.strictEqual(
      readFileSync(file, "utf8"),
      `${JSON.stringify(document, null, 2)}\n`,
      "the contracts of the shop have changed: run npx pnpm@12 asyncapi"
    )
  })

  it("of the shop has nothing that the parser complains of", async () => {
    assert.deepStrictEqual(await diagnosticsOf(document), [])
  })

  it("of every codec, exchange type and kind of schema has nothing that the parser complains of", async () => {
    const Address = Schema.Struct({ street: Schema.String }).annotate({ identifier: "Address" })
    interface Category {
      readonly name: string
      readonly sub: ReadonlyArray<Category>
    }
    const Category = Schema.Struct({
      name: Schema.String,
      sub: Schema.Array(Schema.suspend((): Schema.Codec<Category> => Category))
    }).annotate({ identifier: "Category" })
    const payload = Schema.Struct({
      id: Schema.String,
      to: Address,
      category: Category,
      wait: Schema.Duration,
      some: Schema.Option(Schema.Int),
      kind: Schema.Union([Schema.Literal("a"), Schema.Literal("b")]),
      note: Schema.optionalKey(Schema.String)
    })
    const queue = AmqpTopology.queue("everything/and more")
    const contracts = (["topic", "direct", "fanout", "headers"] as const).flatMap((type) => {
      const exchange = AmqpTopology.exchange(`ex ${type}`, { type })
      return [Codec.json, Codec.schemaBinary, Codec.cloudEvents({ source: "/test" })].map((codec) =>
        AmqpContract.make(`${type}.${codec.name}`, { payload, exchange, key: "a.{id}", codec })
      )
    })
    const made = AsyncApi.make({
      title: "Everything",
      version: "1.0.0",
      server: { host: "localhost:5672", protocol: "amqp" },
      sends: contracts,
      receives: [{ queue, contracts }]
    })
    assert.deepStrictEqual(await diagnosticsOf(made), [])
    assert.deepInclude(made.operations["receive.everything_and_more.ex_topic.topic.json"], {
      "x-queue": {
        name: "everything/and more",
        durable: true,
        exclusive: false,
        autoDelete: false,
        vhost: "/",
        arguments: {}
      }
    })
  })

  it("names each of two contracts that have the same type", () => {
    const exchange = AmqpTopology.exchange("a", { type: "topic" })
    const first = AmqpContract.make("a", { payload: Schema.String, exchange, key: "a" })
    const second = AmqpContract.make("a", { payload: Schema.String, exchange, key: "a", version: 2 })
    const { channels, components } = AsyncApi.make({ title: "a", version: "1", sends: [first, second, first] })
    assert.deepStrictEqual(Object.keys(channels), ["a.a", "a.a_2"])
    assert.deepStrictEqual(Object.keys(components.messages), ["a", "a_2"])
  })
})

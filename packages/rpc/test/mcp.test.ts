import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { AmqpConnection } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { AmqpRpc } from "effect-amqp-rpc"
import { McpProtocol, McpSchema, McpServer, Tool, Toolkit } from "effect/ai"
import { RpcClient, RpcSerialization } from "effect/rpc"

const tools = Toolkit.make(
  Tool.make("Add", {
    description: "Adds two numbers",
    parameters: Schema.Struct({ a: Schema.Number, b: Schema.Number }),
    success: Schema.Struct({ sum: Schema.Number })
  })
)

const calc = AmqpRpc.service("mcp.calc")
const serialization = RpcSerialization.layerJsonRpc()

const server = McpServer.layer({
  name: "calc",
  version: "1.0.0",
  protocols: [McpProtocol.v2026_07_28],
  registrations: McpServer.toolkit(tools).pipe(
    Layer.provide(tools.toLayer({ Add: ({ a, b }) => Effect.succeed({ sum: a + b }) }))
  )
}).pipe(
  Layer.provide(AmqpRpc.layerServer(calc)),
  Layer.provide([serialization, AmqpConnection.layer()])
)

// Each request of this revision says who asks, so that any server can answer it.
const _meta = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": {},
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1.0.0" }
}

describe("effect's MCP server over RabbitMQ", () => {
  it.live("lists its tools and calls them, whichever of two servers has the request", () =>
    Effect.gen(function*() {
      yield* Layer.build(Layer.fresh(server))
      yield* Layer.build(Layer.fresh(server))
      const context = yield* Layer.build(
        AmqpRpc.layerClient(calc).pipe(Layer.provide([serialization, AmqpConnection.layer()]))
      )
      const client = yield* RpcClient.make(McpSchema.ClientRequestRpcs).pipe(
        Effect.provideContext(context)
      )
      for (let i = 0; i < 4; i++) {
        const listed = yield* client["tools/list"]({ _meta } as never)
        assert.deepStrictEqual(listed.tools.map(({ name }) => name), ["Add"])
        const called = yield* client["tools/call"]({ name: "Add", arguments: { a: i, b: 1 }, _meta } as never)
        assert.deepStrictEqual((called as { structuredContent?: unknown }).structuredContent, { sum: i + 1 })
      }
    }).pipe(Effect.scoped, Effect.provide(AmqpMemory.layer), Effect.timeout("1 minute")))
})

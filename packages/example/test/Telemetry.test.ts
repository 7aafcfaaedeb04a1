import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as LoopbackServer from "effect-amqp-test-rig/LoopbackServer"
import { createServer } from "node:http"
import * as Demo from "./support/Demo.ts"

interface Attribute {
  readonly key: string
  readonly value: Readonly<Record<string, unknown>>
}

interface ExportedSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly attributes: ReadonlyArray<Attribute>
  readonly links: ReadonlyArray<{ readonly traceId: string; readonly spanId: string }>
}

/** A collector of OpenTelemetry's protocol on a free port, and what it got by path. */
const collector = Effect.gen(function*() {
  const bodies: Array<readonly [path: string, body: string]> = []
  const server = createServer((request, response) => {
    let body = ""
    request.setEncoding("utf8")
    request.on("data", (chunk: string) => {
      body += chunk
    })
    request.on("end", () => {
      bodies.push([request.url ?? "", body])
      response.writeHead(200, { "content-type": "application/json" }).end("{}")
    })
  })
  const { host, port } = yield* LoopbackServer.make(server)
  return { bodies, url: `http://${host}:${port}` }
})

const spansOf = (bodies: ReadonlyArray<readonly [string, string]>): ReadonlyArray<ExportedSpan> =>
  bodies.filter(([path]) => path === "/v1/traces").flatMap(([, body]) =>
    JSON.parse(body).resourceSpans.flatMap((resource: { scopeSpans: Array<{ spans: Array<ExportedSpan> }> }) =>
      resource.scopeSpans.flatMap(({ spans }) => spans)
    )
  )

const attributesOf = ({ attributes }: ExportedSpan) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))

describe("the telemetry of demo:shop", () => {
  it.live("has the publish and the handling of an order with every attribute of the conventions, linked", () =>
    Effect.gen(function*() {
      const { bodies, url } = yield* collector
      const { exitCode } = yield* Demo.run([], { OTEL_EXPORTER_OTLP_ENDPOINT: url }, "shop.ts")
      assert.strictEqual(exitCode, 0)
      const spans = spansOf(bodies)
      const published = spans.find(({ name }) => name === "publish shop.orders:order.{id}.placed")
      assert.isDefined(published, spans.map(({ name }) => name).join(", "))
      const handled = spans.find(({ links, name }) =>
        name === "process shop.orders:order.{id}.placed:shop.fulfilment" && links[0]?.spanId === published!.spanId
      )
      assert.isDefined(handled, "a handler's span that is linked to the publish")
      assert.strictEqual(handled!.links[0]!.traceId, published!.traceId)

      const producer = attributesOf(published!)
      const consumer = attributesOf(handled!)
      for (const attributes of [producer, consumer]) {
        assert.containsAllKeys(attributes, [
          "messaging.system",
          "messaging.operation.name",
          "messaging.operation.type",
          "messaging.destination.name",
          "messaging.destination.template",
          "messaging.client.id",
          "messaging.message.id",
          "messaging.message.body.size",
          "messaging.rabbitmq.destination.routing_key",
          "server.address",
          "server.port"
        ])
      }
      assert.containsAllKeys(consumer, ["messaging.rabbitmq.message.delivery_tag"])
      assert.strictEqual(producer["messaging.message.id"], consumer["messaging.message.id"])
      // The order that met the payment provider in a bad moment.
      const failed = spans.find((span) => attributesOf(span)["error.type"] === "ProviderBusy")
      assert.strictEqual(failed?.name, "process shop.orders:order.{id}.placed:shop.fulfilment")

      const metrics = bodies.filter(([path]) => path === "/v1/metrics").map(([, body]) => body).join()
      for (const name of ["messaging.client.sent.messages", "messaging.client.operation.duration"]) {
        assert.include(metrics, `"${name}"`)
      }
    }))
})

import { assert, it } from "@effect/vitest"
import * as FaultProxy from "effect-amqp-test-rig/FaultProxy"
import * as LoopbackServer from "effect-amqp-test-rig/LoopbackServer"
import * as Effect from "effect/Effect"
import { createServer } from "node:net"
import { describe } from "vitest"
import * as TcpEnd from "./TcpEnd.ts"

describe("The fault proxy", () => {
  it.live("passes bytes and ends in both directions", () =>
    Effect.gen(function*() {
      const { client, server } = yield* connected
      client.socket.write("up")
      yield* server.receives("up")
      server.socket.write("down")
      yield* client.receives("down")
      client.socket.end()
      yield* server.ends
      server.socket.end()
      assert.strictEqual(yield* client.closes, undefined)
    }))

  it.live("refuses new connections with a reset", () =>
    Effect.gen(function*() {
      const { proxy } = yield* connected
      yield* proxy.setMode("refuse")
      const late = yield* TcpEnd.dial(proxy.port)
      assert.strictEqual(yield* late.closes, "ECONNRESET")
    }))

  it.live("accepts new connections in silence, unheard by the broker", () =>
    Effect.gen(function*() {
      const { backend, proxy } = yield* connected
      yield* proxy.setMode("acceptSilent")
      const late = yield* TcpEnd.dial(proxy.port)
      late.socket.write("hello?")
      yield* Effect.sleep("50 millis")
      assert.strictEqual(yield* backend.waiting, 0)
      assert.strictEqual(late.received(), "")
      assert.isFalse(late.socket.closed)
    }))

  it.live("swallows bytes and ends like a black hole", () =>
    Effect.gen(function*() {
      const { client, proxy, server } = yield* connected
      yield* proxy.setMode("blackhole")
      client.socket.write("up")
      server.socket.write("down")
      server.socket.end()
      yield* Effect.sleep("50 millis")
      assert.strictEqual(client.received() + server.received(), "")
      assert.isFalse(client.socket.readableEnded)
    }))

  it.live("pauses one direction, loses nothing, and makes its writer feel it", () =>
    Effect.gen(function*() {
      const { client, proxy, server } = yield* connected
      yield* proxy.pause("up")
      const bytes = Buffer.alloc(32_000_000, "x")
      assert.isFalse(client.socket.write(bytes))
      server.socket.write("down")
      yield* client.receives("down")
      yield* Effect.sleep("50 millis")
      assert.isAbove(client.socket.writableLength, 0)
      yield* proxy.resume("up")
      yield* server.receives(bytes.toString())
    }))

  it.live("resets both sides", () =>
    Effect.gen(function*() {
      const { client, proxy, server } = yield* connected
      yield* proxy.reset
      assert.strictEqual(yield* client.closes, "ECONNRESET")
      assert.strictEqual(yield* server.closes, "ECONNRESET")
    }))

  it.live("resets the client and leaves the broker its half of the connection", () =>
    Effect.gen(function*() {
      const { client, proxy, server } = yield* connected
      yield* proxy.resetClient
      assert.strictEqual(yield* client.closes, "ECONNRESET")
      yield* Effect.sleep("50 millis")
      assert.isFalse(server.socket.readableEnded || server.socket.closed)
      assert.strictEqual(yield* proxy.connections, 0)
    }))

  it.live("passes on the reset of a client that crashed", () =>
    Effect.gen(function*() {
      const { client, server } = yield* connected
      client.socket.resetAndDestroy()
      assert.strictEqual(yield* server.closes, "ECONNRESET")
    }))

  it.live("ends both sides in an orderly way", () =>
    Effect.gen(function*() {
      const { client, proxy, server } = yield* connected
      yield* proxy.fin
      yield* client.ends
      yield* server.ends
    }))

  it.live("holds bytes back for the latency, in their order, also when it changes", () =>
    Effect.gen(function*() {
      const { client, proxy, server } = yield* connected
      yield* proxy.setLatency(100)
      const before = performance.now()
      server.socket.write("first ")
      yield* Effect.sleep("10 millis")
      yield* proxy.setLatency(0)
      server.socket.write("second")
      yield* client.receives("first second")
      assert.isAtLeast(performance.now() - before, 95)
    }))

  it.live("cuts in an orderly way after so many bytes", () =>
    Effect.gen(function*() {
      const { client, proxy, server } = yield* connected
      yield* proxy.cutAfter("down", 5, "fin")
      server.socket.write("123")
      server.socket.write("456")
      yield* client.ends
      assert.strictEqual(client.received(), "12345")
    }))

  it.live("cuts with a reset after so many bytes", () =>
    Effect.gen(function*() {
      const { client, proxy, server } = yield* connected
      yield* proxy.cutAfter("down", 5, "rst")
      server.socket.write("123")
      server.socket.write("456")
      assert.strictEqual(yield* client.closes, "ECONNRESET")
      assert.strictEqual(client.received(), "12345")
    }))

  it.live("cuts new connections too, and can let them hang", () =>
    Effect.gen(function*() {
      const { backend, proxy } = yield* connected
      yield* proxy.cutAfter("up", 3, "hang")
      const { client, server } = yield* connectThrough(proxy, backend)
      client.socket.write("1234")
      yield* server.receives("123")
      server.socket.write("nobody hears this")
      client.socket.write("nor this")
      yield* Effect.sleep("50 millis")
      assert.strictEqual(server.received(), "123")
      assert.strictEqual(client.received(), "")
      yield* proxy.clearCut
    }))

  it.live("speaks to the client in the broker's name", () =>
    Effect.gen(function*() {
      const { client, proxy } = yield* connected
      yield* proxy.inject(Buffer.from("I am the broker"))
      yield* client.receives("I am the broker")
    }))

  it.live("resets clients while there is no broker behind it", () =>
    Effect.gen(function*() {
      const port = yield* Effect.scoped(Effect.map(LoopbackServer.make(createServer()), (server) => server.port))
      const proxy = yield* FaultProxy.make({ port })
      const client = yield* TcpEnd.dial(proxy.port)
      assert.strictEqual(yield* client.closes, "ECONNRESET")
    }))

  it.live("leaves no connection behind when its scope closes", () =>
    Effect.gen(function*() {
      const backend = yield* TcpEnd.listen
      const { client, server } = yield* Effect.scoped(Effect.gen(function*() {
        const proxy = yield* FaultProxy.make({ port: backend.port })
        const halfOpen = yield* connectThrough(proxy, backend)
        yield* proxy.resetClient
        return halfOpen
      }))
      yield* client.closes
      yield* server.ends
    }))
})

const connectThrough = Effect.fnUntraced(function*(
  proxy: FaultProxy.Service,
  backend: Effect.Success<typeof TcpEnd.listen>
) {
  const client = yield* TcpEnd.dial(proxy.port)
  return { client, server: yield* backend.accept }
})

const connected = Effect.gen(function*() {
  const backend = yield* TcpEnd.listen
  const proxy = yield* FaultProxy.make({ port: backend.port })
  return { backend, proxy, ...yield* connectThrough(proxy, backend) }
})

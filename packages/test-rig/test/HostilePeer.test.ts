import { assert, it } from "@effect/vitest"
import * as HostilePeer from "effect-amqp-test-rig/HostilePeer"
import * as Probe from "effect-amqp-test-rig/Probe"
import * as Effect from "effect/Effect"
import { describe } from "vitest"
import * as TcpEnd from "./TcpEnd.ts"

describe("A hostile peer", () => {
  it.live("is silent", () =>
    Effect.gen(function*() {
      const peer = yield* HostilePeer.silent
      assert.isTrue(yield* Probe.listens(peer.host, peer.port))
      assert.isFalse(yield* Probe.speaksAmqp(peer.host, peer.port))
    }))

  it.live("speaks HTTP", () =>
    Effect.gen(function*() {
      const client = yield* TcpEnd.dial((yield* HostilePeer.http).port)
      client.socket.write("AMQP\0\0\t\u0001")
      yield* client.ends
      assert.match(client.received(), /^HTTP\/1\.1 400 /)
    }))

  it.live("closes at once", () =>
    Effect.gen(function*() {
      const client = yield* TcpEnd.dial((yield* HostilePeer.closing).port)
      yield* client.ends
    }))

  it.live("resets at once", () =>
    Effect.gen(function*() {
      const client = yield* TcpEnd.dial((yield* HostilePeer.resetting).port)
      assert.strictEqual(yield* client.closes, "ECONNRESET")
    }))

  it.live("drips a frame that never ends", () =>
    Effect.gen(function*() {
      const client = yield* TcpEnd.dial((yield* HostilePeer.dripping(5)).port)
      yield* client.receives("\u0001\0\0\0\u0001\u0086\u00a0\0\0")
    }))

  it.live("answers with whatever it was given", () =>
    Effect.gen(function*() {
      const client = yield* TcpEnd.dial((yield* HostilePeer.answering(Buffer.from("AMQP\0\0\u000a\0"))).port)
      client.socket.write("AMQP\0\0\t\u0001")
      yield* client.receives("AMQP\0\0\u000a\0")
    }))
})

/**
 * Peers that a client may meet in place of a broker.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Socket } from "node:net"
import { createServer } from "node:net"
import * as LoopbackServer from "./LoopbackServer.ts"

/**
 * Accepts connections and never sends a byte.
 */
export const silent: Effect.Effect<LoopbackServer.LoopbackServer, never, Scope.Scope> = Effect.suspend(() =>
  greetWith((socket) => socket.resume())
)

/**
 * Takes any bytes for an HTTP request and refuses the request.
 */
export const http: Effect.Effect<LoopbackServer.LoopbackServer, never, Scope.Scope> = Effect.suspend(() =>
  greetWith((socket) =>
    socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
  )
)

/**
 * Ends every connection at once, in an orderly way.
 */
export const closing: Effect.Effect<LoopbackServer.LoopbackServer, never, Scope.Scope> = Effect.suspend(() =>
  greetWith((socket) => socket.end())
)

/**
 * Resets every connection at once.
 */
export const resetting: Effect.Effect<LoopbackServer.LoopbackServer, never, Scope.Scope> = Effect.suspend(() =>
  greetWith((socket) => socket.resetAndDestroy())
)

/**
 * Sends one byte of a frame that never ends, again and again: enough to reset every timeout that waits for silence.
 */
export const dripping = (everyMillis: number): Effect.Effect<LoopbackServer.LoopbackServer, never, Scope.Scope> =>
  Effect.suspend(() =>
    greetWith((socket) => {
      socket.resume()
      const bytes = [...endlessFrame]
      const timer = setInterval(() => socket.write(Uint8Array.of(bytes.shift() ?? 0)), everyMillis)
      socket.once("close", () => clearInterval(timer))
    })
  )

/**
 * Answers the first bytes of every connection with the given bytes, and leaves the connection open.
 */
export const answering = (bytes: Uint8Array): Effect.Effect<LoopbackServer.LoopbackServer, never, Scope.Scope> =>
  Effect.suspend(() => greetWith((socket) => socket.once("data", () => socket.write(bytes))))

/**
 * Answers the first bytes of every connection with a whole handshake, without waiting for the other half of it, and
 * resets the connection at once.
 */
export const hasty: Effect.Effect<LoopbackServer.LoopbackServer, never, Scope.Scope> = Effect.suspend(() =>
  greetWith((socket) =>
    socket.once("data", () => socket.write(Buffer.concat([start, tune, openOk]), () => socket.resetAndDestroy()))
  )
)

const method = (hex: string): Buffer => {
  const payload = Buffer.from(hex, "hex")
  return Buffer.concat([Buffer.from([1, 0, 0, 0, 0, 0, payload.length]), payload, Buffer.from([0xce])])
}

// Version 0-9, no server properties, PLAIN, en_US; no limits and no heartbeat.
const start = method(`000a000a 0009 00000000 00000005 504c41494e 00000005 656e5f5553`.replaceAll(" ", ""))
const tune = method("000a001e0000000000000000")
const openOk = method("000a002900")

// A method frame on channel 0 that claims 100,000 bytes of payload.
const endlessFrame = [1, 0, 0, 0, 1, 0x86, 0xa0]

const greetWith = (
  greet: (socket: Socket) => void
): Effect.Effect<LoopbackServer.LoopbackServer, never, Scope.Scope> =>
  LoopbackServer.make(
    createServer((socket) => {
      socket.on("error", () => {})
      greet(socket)
    })
  )

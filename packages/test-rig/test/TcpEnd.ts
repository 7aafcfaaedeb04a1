import * as LoopbackServer from "effect-amqp-test-rig/LoopbackServer"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { Socket } from "node:net"
import { connect, createServer } from "node:net"

/**
 * One end of a TCP connection, and what it has seen.
 */
export interface TcpEnd {
  readonly socket: Socket
  readonly received: () => string
  /** Waits until exactly this was received. */
  readonly receives: (text: string) => Effect.Effect<void>
  /** Waits for the other side's orderly end. */
  readonly ends: Effect.Effect<void>
  /** Waits for the close, and gives the code of the error if there was one. */
  readonly closes: Effect.Effect<string | undefined>
}

/**
 * Connects to a loopback port.
 */
export const dial = (port: number): Effect.Effect<TcpEnd, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => observe(connect({ host: "127.0.0.1", port, allowHalfOpen: true }))),
    (end) => Effect.sync(() => end.socket.destroy())
  )

/**
 * Listens at a loopback port; `accept` takes the accepted connections one by one.
 */
export const listen = Effect.gen(function*() {
  const ends = yield* Queue.unbounded<TcpEnd>()
  const server = yield* LoopbackServer.make(
    createServer({ allowHalfOpen: true }, (socket) => Queue.offerUnsafe(ends, observe(socket)))
  )
  return { port: server.port, accept: Queue.take(ends), waiting: Queue.size(ends) }
})

const observe = (socket: Socket): TcpEnd => {
  let received = ""
  socket.setEncoding("latin1")
  socket.on("data", (text: string) => {
    received += text
  })
  const ended = new Promise<void>((resolve) => socket.once("end", resolve))
  const closed = new Promise<string | undefined>((resolve) => {
    let code: string | undefined
    socket.once("error", (error: NodeJS.ErrnoException) => {
      code = error.code
    })
    socket.once("close", () => resolve(code))
  })
  return {
    socket,
    received: () => received,
    receives: (text) =>
      Effect.sleep("2 millis").pipe(
        Effect.repeat({ until: () => received.length >= text.length }),
        Effect.andThen(Effect.suspend(() =>
          received === text ? Effect.void : Effect.die(new Error(`Received ${received.slice(0, 100)}`))
        ))
      ),
    ends: Effect.promise(() => ended),
    closes: Effect.promise(() => closed)
  }
}

/**
 * Probes for a listener from outside.
 */
import * as Effect from "effect/Effect"
import type { Socket } from "node:net"
import { connect } from "node:net"

/**
 * True when a connection is accepted.
 */
export const listens = (host: string, port: number): Effect.Effect<boolean> =>
  dial(host, port, (socket, settle) => socket.once("connect", () => settle(true)))

/**
 * True when the other side answers the protocol header of AMQP 0-9-1 with a method frame, which is `connection.start`.
 * An open port is not enough: a proxy opens it long before the broker behind it answers.
 */
export const speaksAmqp = (host: string, port: number): Effect.Effect<boolean> =>
  dial(host, port, (socket, settle) => {
    socket.once("connect", () => socket.write(protocolHeader))
    socket.once("data", (data) => settle(data[0] === methodFrame))
  })

const protocolHeader = Buffer.from([0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1])
const methodFrame = 1

const dial = (
  host: string,
  port: number,
  observe: (socket: Socket, settle: (answer: boolean) => void) => void
): Effect.Effect<boolean> =>
  Effect.callback<boolean>((resume) => {
    const socket = connect({ host, port })
    const settle = (answer: boolean) => {
      socket.destroy()
      resume(Effect.succeed(answer))
    }
    socket.on("error", () => settle(false))
    socket.once("close", () => settle(false))
    observe(socket, settle)
    return Effect.sync(() => socket.destroy())
  }).pipe(Effect.timeoutOrElse({ duration: "2 seconds", orElse: () => Effect.succeed(false) }))

/**
 * A TCP server on a loopback port that the system chose.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Server, Socket } from "node:net"

/**
 * The address of a server.
 */
export interface LoopbackServer {
  readonly host: string
  readonly port: number
}

/**
 * Makes a server listen. The scope closes the server and destroys every socket that it accepted.
 */
export const make = (server: Server): Effect.Effect<LoopbackServer, never, Scope.Scope> => {
  const sockets = new Set<Socket>()
  server.on("connection", (socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
  })
  return Effect.acquireRelease(
    Effect.callback<LoopbackServer>((resume) => {
      server.once("error", (cause) => resume(Effect.die(cause)))
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resume(
          typeof address === "object" && address !== null
            ? Effect.succeed({ host: "127.0.0.1", port: address.port })
            : Effect.die(new Error("The server has no port"))
        )
      })
    }),
    () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        sockets.forEach((socket) => socket.destroy())
      })
  )
}

/**
 * Free loopback ports.
 */
import * as Effect from "effect/Effect"
import { randomInt } from "node:crypto"
import { createServer } from "node:net"
import { RabbitMqError } from "./RabbitMqError.ts"

// Below the ephemeral ports of Linux and macOS: a broker that restarts must get its port back, and an outgoing
// connection of some other test could be holding it if it came from there.
const lowest = 10_000
const highest = 32_000

/**
 * Finds a free port by listening on a random one for a moment. Another process may take the port before the caller
 * does, so the caller must be ready to ask again.
 */
export const find: Effect.Effect<number, RabbitMqError> = Effect.suspend(() => tryToListen(randomInt(lowest, highest)))
  .pipe(
    Effect.retry({ times: 50 })
  )

const tryToListen = (port: number): Effect.Effect<number, RabbitMqError> =>
  Effect.callback<number, RabbitMqError>((resume) => {
    const server = createServer()
    server.once("error", (cause) => resume(Effect.fail(new RabbitMqError({ message: `Port ${port} is taken`, cause }))))
    server.listen(port, "127.0.0.1", () => server.close(() => resume(Effect.succeed(port))))
    return Effect.sync(() => server.close())
  })

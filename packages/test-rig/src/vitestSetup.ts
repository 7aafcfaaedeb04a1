/**
 * The global set-up of a vitest run: finds the brokers of this machine, and keeps the broker that all tests share. Name
 * this module under `globalSetup` of vitest's root configuration.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import { createServer } from "node:net"
import type { TestProject } from "vitest/node"
import * as RabbitMq from "./RabbitMq.ts"
import type { BrokersOfTestRun, SharedBroker } from "./TestRun.ts"

/**
 * Called by vitest before the first test. Vitest calls the returned function after the last test.
 */
export const setup = async (project: TestProject): Promise<() => Promise<void>> => {
  const url = process.env["AMQP_URL"]
  const availability = await Effect.runPromise(RabbitMq.availability())
  const refusal = Result.isFailure(availability) ? availability.failure.message : undefined
  const scope = Scope.makeUnsafe()

  // The node costs seconds, which a run of unit tests must not pay: the first test that asks starts it.
  let broker: Promise<SharedBroker> | undefined
  const server = createServer((socket) => {
    socket.on("error", () => {})
    broker ??= url === undefined ? Effect.runPromise(Scope.provide(startNode, scope)) : Promise.resolve({ url })
    broker.then((answer) => socket.end(JSON.stringify(answer)))
  })
  const port = await new Promise<number>((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      resolve(typeof address === "object" && address !== null ? address.port : 0)
    })
  })

  const brokers: BrokersOfTestRun = {
    ownNodeRefusal: refusal,
    sharedBrokerRefusal: url === undefined ? refusal : undefined,
    sharedBrokerPort: port
  }
  project.provide("rabbitMq", brokers)

  return async () => {
    server.close()
    await Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

const startNode = RabbitMq.make().pipe(
  Effect.match({
    onSuccess: ({ address, url }): SharedBroker => ({ url, address }),
    onFailure: ({ message }): SharedBroker => ({ failure: message })
  })
)

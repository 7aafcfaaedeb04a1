/**
 * The broker that a whole test run shares, for tests that only need a broker to talk to: the broker that `AMQP_URL`
 * names, or a throw-away node that the first test starts. `vitestSetup.ts` keeps it.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import { connect } from "node:net"
import { inject } from "vitest"
import * as BrokerLevers from "./BrokerLevers.ts"
import { RabbitMqError } from "./RabbitMqError.ts"
import type { SharedBroker } from "./TestRun.ts"

/**
 * The shared broker as one test sees it.
 */
export interface Service {
  /** The URL, virtual host included. */
  readonly url: string
  readonly host: string
  readonly port: number
  readonly username: string
  readonly password: string
  /** A virtual host that no other test uses, unless the broker comes from `AMQP_URL`. */
  readonly vhost: string
  /** None for a broker from `AMQP_URL`. A lever that hits all connections hits other tests too. */
  readonly levers: Option.Option<BrokerLevers.BrokerLevers>
}

/**
 * The shared broker.
 */
export class SharedRabbitMq extends Context.Service<SharedRabbitMq, Service>()("effect-amqp-test-rig/SharedRabbitMq") {}

/**
 * Makes a virtual host on the shared broker that lives as long as the scope.
 */
export const make: Effect.Effect<Service, RabbitMqError, Scope.Scope> = Effect.gen(function*() {
  const broker = yield* ask
  const levers = Option.map(Option.fromNullishOr(broker.address), BrokerLevers.make)
  const url = new URL(broker.url)
  if (Option.isSome(levers)) {
    const vhost = `test-${randomBytes(4).toString("hex")}`
    yield* Effect.acquireRelease(
      levers.value.addVhost(vhost),
      () => Effect.ignore(levers.value.deleteVhost(vhost))
    )
    url.pathname = `/${vhost}`
  }
  return {
    url: url.href,
    host: url.hostname,
    port: url.port === "" ? 5672 : Number(url.port),
    username: decodeURIComponent(url.username) || "guest",
    password: decodeURIComponent(url.password) || "guest",
    vhost: decodeURIComponent(url.pathname.slice(1)) || "/",
    levers
  }
})

/**
 * Provides the shared broker, with a virtual host that lives as long as the layer.
 */
export const layer: Layer.Layer<SharedRabbitMq, RabbitMqError> = Layer.effect(SharedRabbitMq, make)

const ask = Effect.callback<string, RabbitMqError>((resume) => {
  let answer = ""
  const socket = connect({ host: "127.0.0.1", port: inject("rabbitMq").sharedBrokerPort })
  socket.setEncoding("utf8")
  socket.on("data", (text: string) => {
    answer += text
  })
  socket.once("end", () => resume(Effect.succeed(answer)))
  socket.once(
    "error",
    (cause) => resume(Effect.fail(new RabbitMqError({ message: "The set-up of the test run does not answer", cause })))
  )
  return Effect.sync(() => socket.destroy())
}).pipe(
  Effect.flatMap((answer) => {
    const broker: SharedBroker = JSON.parse(answer)
    return "failure" in broker ? Effect.fail(new RabbitMqError({ message: broker.failure })) : Effect.succeed(broker)
  })
)

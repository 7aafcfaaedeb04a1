import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import * as Effect from "effect/Effect"

// Starts a node, tells who it is, and waits to be ended.
await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const broker = yield* RabbitMq.make()
  const pid = yield* broker.evalErlang("os:getpid()")
  const home = yield* broker.evalErlang("os:getenv(\"HOME\")")
  process.stdout.write(`{"pid":${pid},"home":${home}}\n`)
  setInterval(() => {}, 1000)
  return yield* Effect.never
})))

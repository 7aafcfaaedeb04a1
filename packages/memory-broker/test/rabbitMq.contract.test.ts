import { layer } from "@effect/vitest"
import { Effect } from "effect"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import * as Real from "./contract/rabbitMq.ts"
import { runSuites } from "./contract/run.ts"
import { suites } from "./contract/suites.ts"

describeWithOwnNode("the contract, on RabbitMQ", () => {
  let version = ""
  layer(RabbitMq.layer(), { timeout: Patience.limit, excludeTestServices: true })((it) => {
    runSuites(() => `RabbitMQ ${version}`, suites, (statement, body) => {
      it.effect(statement, () =>
        Effect.gen(function*() {
          version = (yield* RabbitMq.RabbitMq).version
          yield* Effect.provide(Effect.scoped(body), Real.layer)
        }))
    })
  })
})

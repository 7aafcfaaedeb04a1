/**
 * Test suites that need a broker. Without a broker they are skipped, with the reason printed. In CI, or when
 * `AMQP_TESTS_REQUIRE_BROKER` is `1`, they fail instead.
 */
import { describe, inject, it } from "vitest"
import type { BrokersOfTestRun } from "./TestRun.ts"

/**
 * A suite whose tests start nodes of their own with `RabbitMq.make`.
 */
export const describeWithOwnNode = (name: string, body: () => void): void =>
  describeUnless("ownNodeRefusal", name, body)

/**
 * A suite whose tests use the broker that the whole run shares, `SharedRabbitMq`.
 */
export const describeWithSharedBroker = (name: string, body: () => void): void =>
  describeUnless("sharedBrokerRefusal", name, body)

const describeUnless = (
  kind: "ownNodeRefusal" | "sharedBrokerRefusal",
  name: string,
  body: () => void
): void => {
  const brokers: BrokersOfTestRun = inject("rabbitMq")
  const refusal = brokers[kind]
  if (refusal === undefined) {
    describe(name, body)
  } else if (isRequired) {
    describe(name, () => {
      it("has the broker that this run requires", () => {
        throw new Error(refusal)
      })
    })
  } else {
    process.stderr.write(`SKIPPED ${name}: ${refusal}\n`)
    describe.skip(`${name} (skipped: ${refusal})`, body)
  }
}

const isRequired = process.env["AMQP_TESTS_REQUIRE_BROKER"] === "1" ||
  !["", "0", "false", undefined].includes(process.env["CI"])

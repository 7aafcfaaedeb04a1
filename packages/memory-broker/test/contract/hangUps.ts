import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { AmqpError } from "effect-amqp/AmqpError"
import { Broker } from "./Broker.ts"
import * as Client from "./Client.ts"
import { rows, suite } from "./Suite.ts"

/** How a broker ends the connection for an operation: the text, with the test's virtual host as `/`. */
const hangUp = Effect.fnUntraced(function*<A, R>(
  operation: (channel: Client.Channel) => Effect.Effect<A, AmqpError, R>
) {
  const connection = yield* Client.connect()
  const channel = yield* Client.open(connection)
  yield* Client.failure(operation(channel))
  return (yield* Client.ending(connection)).text
})

/** How a broker closes the channel for an operation. */
const refused = Effect.fnUntraced(function*<A, R>(
  operation: (channel: Client.Channel) => Effect.Effect<A, AmqpError, R>
) {
  const connection = yield* Client.connect()
  const channel = yield* Client.open(connection)
  const { text } = yield* Client.failure(operation(channel))
  yield* Client.settle
  assert.deepStrictEqual(connection.endings, ["channel closed"])
  return text
})

const exchangeNotFound = (name: string) =>
  Effect.fnUntraced(function*(channel: Client.Channel) {
    Client.write(channel, { exchange: name, routingKey: "a" })
    // The broker answers nothing before it has seen the message.
    yield* channel.checkExchange("amq.direct")
  })

export const hangUps = suite("operations on which the broker hangs up", {
  "a queue with x-queue-master-locator closes the connection since 4.3": Effect.gen(function*() {
    const { version } = yield* Broker
    const declare = (channel: Client.Channel) => Client.queue(channel, "q", { "x-queue-master-locator": "min-masters" })
    if (version < 4.03) {
      yield* declare(yield* Client.session)
      return
    }
    const text = yield* hangUp(declare)
    assert.match(text, /^INTERNAL_ERROR - Feature `queue_master_locator` is deprecated\.\n/)
    assert.strictEqual(text.length, 255)
    assert.match(text, /\.\.\.$/)
  }),
  "a master locator that RabbitMQ does not know closes the connection before 4.0": Effect.gen(function*() {
    const { version } = yield* Broker
    if (version >= 4) return
    assert.strictEqual(
      yield* hangUp((channel) => Client.queue(channel, "q", { "x-queue-master-locator": "nonsense" })),
      "INTERNAL_ERROR"
    )
  }),
  "a classic queue has no x-queue-leader-locator before 4.0": Effect.gen(function*() {
    const { version } = yield* Broker
    const declare = (channel: Client.Channel) => Client.queue(channel, "q", { "x-queue-leader-locator": "balanced" })
    if (version < 4) {
      assert.strictEqual(
        yield* refused(declare),
        "PRECONDITION_FAILED - invalid arg 'x-queue-leader-locator' for queue 'q' in vhost '/' of queue type " +
          "rabbit_classic_queue"
      )
    } else yield* declare(yield* Client.session)
  }),
  "a leader locator that RabbitMQ does not know is refused": Effect.gen(function*() {
    assert.strictEqual(
      yield* refused((channel) =>
        Client.queue(channel, "q", { "x-queue-type": "quorum", "x-queue-leader-locator": "nonsense" })
      ),
      "PRECONDITION_FAILED - invalid arg 'x-queue-leader-locator' for queue 'q' in vhost '/': invalid_queue_locator_arg"
    )
  }),
  ...rows(
    [["if-empty", { ifEmpty: true, ifUnused: false }], ["if-unused", { ifEmpty: false, ifUnused: true }]] as const,
    ([flag, options]) => [
      `deleting a quorum queue ${flag} closes the connection`,
      Effect.gen(function*() {
        yield* Client.queue(yield* Client.session, "q", { "x-queue-type": "quorum" })
        assert.strictEqual(
          yield* hangUp((channel) => channel.deleteQueue("q", options)),
          `NOT_IMPLEMENTED - cannot delete queue 'q' in vhost '/'. queue.delete operations with ${flag} flag set are ` +
            "not supported by quorum queues"
        )
      })
    ]
  ),
  ...rows(["", "-1h"], (age) => [
    `an x-max-age of "${age}" closes the connection before 4.3`,
    Effect.gen(function*() {
      const { version } = yield* Broker
      const declare = (channel: Client.Channel) =>
        Client.queue(channel, "s", { "x-queue-type": "stream", "x-max-age": age })
      if (version < 4.03) assert.strictEqual(yield* hangUp(declare), "INTERNAL_ERROR")
      else {
        assert.strictEqual(
          yield* refused(declare),
          "PRECONDITION_FAILED - invalid arg 'x-max-age' for queue 's' in vhost '/': invalid_max_age"
        )
      }
    })
  ]),
  "an x-max-age of nothing is refused": Effect.gen(function*() {
    assert.strictEqual(
      yield* refused((channel) => Client.queue(channel, "s", { "x-queue-type": "stream", "x-max-age": "0s" })),
      "PRECONDITION_FAILED - invalid arg 'x-max-age' for queue 's' in vhost '/': invalid_max_age"
    )
  }),
  "a text that is too long for its frame is cut at 255 bytes": Effect.gen(function*() {
    assert.strictEqual(
      yield* refused(exchangeNotFound("a".repeat(250))),
      `NOT_FOUND - no exchange '${"a".repeat(227)}...`
    )
  }),
  "a text that is too long for its frame and not ASCII closes the connection since 4.0": Effect.gen(function*() {
    const { version } = yield* Broker
    const name = `${"é".repeat(100)}${"x".repeat(50)}`
    if (version < 4) {
      assert.strictEqual(
        yield* refused(exchangeNotFound(name)),
        `NOT_FOUND - no exchange '${"é".repeat(100)}${"x".repeat(27)}...`
      )
    } else assert.strictEqual(yield* hangUp(exchangeNotFound(name)), "INTERNAL_ERROR")
  })
})

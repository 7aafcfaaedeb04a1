import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { AmqpError } from "effect-amqp/AmqpError"
import { Broker } from "./Broker.ts"
import type { Channel } from "./Client.ts"
import * as Client from "./Client.ts"
import { rows, suite } from "./Suite.ts"

/** What is refused, on a channel that has `q` (a plain queue), `x` (direct) and `h` (headers). */
type Refused = readonly [
  statement: string,
  operation: (channel: Channel) => Effect.Effect<unknown, AmqpError>,
  reason: string,
  text: string
]

const declared = (name: string, args: Parameters<typeof Client.queue>[2], options = {}) => (channel: Channel) =>
  Client.queue(channel, name, args, options)

const table: ReadonlyArray<Refused> = [
  [
    "checking a queue that is missing",
    (channel) => channel.checkQueue("missing"),
    "NotFound",
    "NOT_FOUND - no queue 'missing' in vhost '/'"
  ],
  [
    "getting from a queue that is missing",
    (channel) => channel.get("missing", { noAck: true }),
    "NotFound",
    "NOT_FOUND - no queue 'missing' in vhost '/'"
  ],
  [
    "consuming from a queue that is missing",
    (channel) => Client.consume(channel, "missing"),
    "NotFound",
    "NOT_FOUND - no queue 'missing' in vhost '/'"
  ],
  [
    "purging a queue that is missing",
    (channel) => channel.purgeQueue("missing"),
    "NotFound",
    "NOT_FOUND - no queue 'missing' in vhost '/'"
  ],
  [
    "checking an exchange that is missing",
    (channel) => channel.checkExchange("missing"),
    "NotFound",
    "NOT_FOUND - no exchange 'missing' in vhost '/'"
  ],
  [
    "binding a queue that is missing",
    (channel) => Client.bind(channel, "missing", "x"),
    "NotFound",
    "NOT_FOUND - no queue 'missing' in vhost '/'"
  ],
  [
    "binding to an exchange that is missing, whether the queue is there or not",
    (channel) => Client.bind(channel, "missing-queue", "missing-exchange"),
    "NotFound",
    "NOT_FOUND - no exchange 'missing-exchange' in vhost '/'"
  ],
  [
    "binding an exchange to one that is missing",
    (channel) => channel.bindExchange({ destination: "x", source: "missing", routingKey: "", arguments: {} }),
    "NotFound",
    "NOT_FOUND - no exchange 'missing' in vhost '/'"
  ],
  [
    "binding an exchange that is missing",
    (channel) => channel.bindExchange({ destination: "missing", source: "x", routingKey: "", arguments: {} }),
    "NotFound",
    "NOT_FOUND - no exchange 'missing' in vhost '/'"
  ],
  [
    "using the last declared queue where none was",
    (channel) => Client.bind(channel, "", "x"),
    "NotFound",
    "NOT_FOUND - no previously declared queue"
  ],
  [
    "declaring the default exchange",
    (channel) => Client.exchange(channel, "", "direct"),
    "AccessRefused",
    "ACCESS_REFUSED - operation not permitted on the default exchange"
  ],
  [
    "checking the default exchange",
    (channel) => channel.checkExchange(""),
    "AccessRefused",
    "ACCESS_REFUSED - operation not permitted on the default exchange"
  ],
  [
    "deleting the default exchange",
    (channel) => channel.deleteExchange("", { ifUnused: false }),
    "AccessRefused",
    "ACCESS_REFUSED - operation not permitted on the default exchange"
  ],
  [
    "binding a queue to the default exchange",
    (channel) => Client.bind(channel, "q", ""),
    "AccessRefused",
    "ACCESS_REFUSED - operation not permitted on the default exchange"
  ],
  [
    "unbinding a queue from the default exchange",
    (channel) => channel.unbindQueue({ queue: "q", exchange: "", routingKey: "q", arguments: {} }),
    "AccessRefused",
    "ACCESS_REFUSED - operation not permitted on the default exchange"
  ],
  [
    "binding the default exchange to another",
    (channel) => channel.bindExchange({ destination: "", source: "x", routingKey: "", arguments: {} }),
    "AccessRefused",
    "ACCESS_REFUSED - operation not permitted on the default exchange"
  ],
  [
    "declaring an exchange under a reserved name",
    (channel) => Client.exchange(channel, "amq.mine", "direct"),
    "AccessRefused",
    "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'"
  ],
  [
    "declaring a queue under a reserved name",
    declared("amq.mine", {}),
    "AccessRefused",
    "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"
  ],
  [
    "declaring a queue under a name like those that the broker makes up",
    declared("amq.gen-mine", {}),
    "AccessRefused",
    "ACCESS_REFUSED - queue name 'amq.gen-mine' contains reserved prefix 'amq.*'"
  ],
  [
    "deleting a predeclared exchange",
    (channel) => channel.deleteExchange("amq.direct", { ifUnused: false }),
    "AccessRefused",
    "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed"
  ],
  [
    "declaring a predeclared exchange as something else",
    (channel) => Client.exchange(channel, "amq.direct", "fanout"),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.direct' in vhost '/': received 'fanout' but " +
    "current is 'direct'"
  ],
  [
    "declaring an exchange again with another type",
    (channel) => Client.exchange(channel, "x", "topic"),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x' in vhost '/': received 'topic' but current is " +
    "'direct'"
  ],
  [
    "declaring a durable exchange again as transient",
    (channel) => Client.exchange(channel, "x", "direct", { durable: false }),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'x' in vhost '/': received 'false' but current is " +
    "'true'"
  ],
  [
    "declaring an exchange again as auto-delete",
    (channel) => Client.exchange(channel, "x", "direct", { autoDelete: true }),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for exchange 'x' in vhost '/': received 'true' but current " +
    "is 'false'"
  ],
  [
    "declaring an exchange again as internal",
    (channel) => Client.exchange(channel, "x", "direct", { internal: true }),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'internal' for exchange 'x' in vhost '/': received 'true' but current is " +
    "'false'"
  ],
  [
    "declaring an exchange again with an alternate exchange",
    (channel) => Client.exchange(channel, "x", "direct", { arguments: { "alternate-exchange": "other" } }),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': received the value " +
    "'other' of type 'longstr' but current is none"
  ],
  [
    "an alternate exchange that is not a name",
    (channel) => Client.exchange(channel, "new", "direct", { arguments: { "alternate-exchange": 5 } }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid type 'byte' for arg 'alternate-exchange' in exchange 'new' in vhost '/'"
  ],
  [
    "declaring a durable queue again as transient",
    declared("q", {}, { durable: false }),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is " +
    "'true'"
  ],
  [
    "declaring a queue again as auto-delete",
    declared("q", {}, { autoDelete: true }),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue 'q' in vhost '/': received 'true' but current is " +
    "'false'"
  ],
  [
    "declaring a queue again as exclusive",
    declared("q", {}, { exclusive: true }),
    "ResourceLocked",
    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally " +
    "declared on another connection or the exclusive property value does not match that of the original declaration."
  ],
  [
    "declaring a queue again with an argument more",
    declared("q", { "x-max-length": 5 }),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received the value '5' of type " +
    "'byte' but current is none"
  ],
  [
    "declaring a queue again with a wider number",
    declared("q", { "x-expires": 100_000 }),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'x-expires' for queue 'q' in vhost '/': received the value '100000' of " +
    "type 'signedint' but current is none"
  ],
  [
    "declaring a queue again with an argument less",
    (channel) => Effect.andThen(Client.queue(channel, "t", { "x-message-ttl": 1000 }), Client.queue(channel, "t")),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 't' in vhost '/': received none but current is " +
    "the value '1000' of type 'short'"
  ],
  [
    "declaring a queue again with another value",
    (channel) =>
      Effect.andThen(
        Client.queue(channel, "t", { "x-message-ttl": 1000 }),
        Client.queue(channel, "t", { "x-message-ttl": 2000 })
      ),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 't' in vhost '/': received '2000' but current " +
    "is '1000'"
  ],
  [
    "declaring a queue again with another dead-letter exchange",
    (channel) =>
      Effect.andThen(
        Client.queue(channel, "t", { "x-dead-letter-exchange": "a" }),
        Client.queue(channel, "t", { "x-dead-letter-exchange": "b" })
      ),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-exchange' for queue 't' in vhost '/': received 'b' but " +
    "current is 'a'"
  ],
  [
    "declaring a queue again with a single active consumer",
    declared("q", { "x-single-active-consumer": true }),
    "TopologyMismatch",
    "PRECONDITION_FAILED - inequivalent arg 'x-single-active-consumer' for queue 'q' in vhost '/': received the value " +
    "'true' of type 'bool' but current is none"
  ],
  [
    "a negative message TTL",
    declared("new", { "x-message-ttl": -1 }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'new' in vhost '/': {value_negative,-1}"
  ],
  [
    "a message TTL that is text",
    declared("new", { "x-message-ttl": "soon" }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'new' in vhost '/': \"expected integer, got longstr\""
  ],
  [
    "a message TTL with a fraction",
    declared("new", { "x-message-ttl": 1.5 }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'new' in vhost '/': \"expected integer, got double\""
  ],
  [
    "a message TTL of more than ten years",
    declared("new", { "x-message-ttl": 2 ** 40 }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'new' in vhost '/': {value_too_large,1099511627776}"
  ],
  [
    "a queue that expires at once",
    declared("new", { "x-expires": 0 }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'new' in vhost '/': {value_zero,0}"
  ],
  [
    "a negative maximum length",
    declared("new", { "x-max-length": -5 }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-max-length' for queue 'new' in vhost '/': {value_negative,-5}"
  ],
  [
    "a negative maximum length in bytes",
    declared("new", { "x-max-length-bytes": -5 }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-max-length-bytes' for queue 'new' in vhost '/': {value_negative,-5}"
  ],
  [
    "an overflow policy that there is not",
    declared("new", { "x-overflow": "nope" }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-overflow' for queue 'new' in vhost '/': invalid_overflow"
  ],
  [
    "an overflow policy that is a number",
    declared("new", { "x-overflow": 3 }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-overflow' for queue 'new' in vhost '/': {unacceptable_type,byte}"
  ],
  [
    "a dead-letter exchange that is a number",
    declared("new", { "x-dead-letter-exchange": 5 }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid type 'byte' for arg 'x-dead-letter-exchange' in queue 'new' in vhost '/'"
  ],
  [
    "a dead-letter routing key without an exchange",
    declared("new", { "x-dead-letter-routing-key": "k" }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue 'new' in vhost '/': " +
    "routing_key_but_no_dlx_defined"
  ],
  [
    "a maximum priority above 255",
    declared("new", { "x-max-priority": 256 }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'new' in vhost '/': {max_value_exceeded,256}"
  ],
  [
    "a negative maximum priority",
    declared("new", { "x-max-priority": -1 }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'new' in vhost '/': {value_negative,-1}"
  ],
  [
    "a queue type that is a number",
    declared("new", { "x-queue-type": 5 }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'new' in vhost '/': {unacceptable_type,byte}"
  ],
  [
    "a single active consumer that is neither true nor false",
    declared("new", { "x-single-active-consumer": "yes" }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-single-active-consumer' for queue 'new' in vhost '/': " +
    "{unacceptable_type,longstr}"
  ],
  [
    "a delivery limit on a classic queue",
    declared("new", { "x-delivery-limit": 3 }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue 'new' in vhost '/' of queue type " +
    "rabbit_classic_queue"
  ],
  [
    "priorities on a quorum queue",
    declared("new", { "x-queue-type": "quorum", "x-max-priority": 5 }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'new' in vhost '/' of queue type rabbit_quorum_queue"
  ],
  [
    "a quorum queue that is not durable",
    declared("new", { "x-queue-type": "quorum" }, { durable: false }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid property 'non-durable' for queue 'new' in vhost '/'"
  ],
  [
    "a quorum queue that is exclusive",
    declared("new", { "x-queue-type": "quorum" }, { exclusive: true }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid property 'exclusive-owner' for queue 'new' in vhost '/'"
  ],
  [
    "a quorum queue that is auto-delete",
    declared("new", { "x-queue-type": "quorum" }, { autoDelete: true }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid property 'auto-delete' for queue 'new' in vhost '/'"
  ],
  [
    "a way to match headers that there is not",
    (channel) => Client.bind(channel, "q", "h", "", { "x-match": "some" }),
    "OperationRefused",
    "PRECONDITION_FAILED - Invalid x-match field value <<\"some\">>; expected all, any, all-with-x, or any-with-x"
  ],
  [
    "a way to match headers that is a number",
    (channel) => Client.bind(channel, "q", "h", "", { "x-match": 5 }),
    "OperationRefused",
    "PRECONDITION_FAILED - Invalid x-match field type byte (value 5); expected longstr"
  ],
  [
    "a consumer priority that is text",
    (channel) => Client.consume(channel, "q", { arguments: { "x-priority": "a" } }),
    "OperationRefused",
    "PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in vhost '/': \"expected integer, got longstr\""
  ],
  [
    "deleting an exchange that is in use, if it is unused",
    (channel) => Effect.andThen(Client.bind(channel, "q", "x"), channel.deleteExchange("x", { ifUnused: true })),
    "OperationRefused",
    "PRECONDITION_FAILED - exchange 'x' in vhost '/' in use"
  ],
  [
    "deleting a queue that has consumers, if it is unused",
    (channel) =>
      Effect.andThen(
        Client.consume(channel, "q"),
        channel.deleteQueue("q", { ifUnused: true, ifEmpty: false })
      ),
    "OperationRefused",
    "PRECONDITION_FAILED - queue 'q' in vhost '/' in use"
  ],
  [
    "deleting a queue that has messages, if it is empty",
    (channel) =>
      Effect.andThen(
        Client.fill(channel, "q", "a"),
        channel.deleteQueue("q", { ifUnused: false, ifEmpty: true })
      ),
    "OperationRefused",
    "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty"
  ],
  [
    "an exclusive consumer beside another",
    (channel) => Effect.andThen(Client.consume(channel, "q"), Client.consume(channel, "q", { exclusive: true })),
    "ResourceLocked",
    "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
  ],
  [
    "a consumer beside an exclusive one",
    (channel) => Effect.andThen(Client.consume(channel, "q", { exclusive: true }), Client.consume(channel, "q")),
    "ResourceLocked",
    "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
  ],
  [
    "an exclusive consumer of a queue with a single active one",
    (channel) =>
      Effect.andThen(
        Client.queue(channel, "single", { "x-single-active-consumer": true }),
        Client.consume(channel, "single", { exclusive: true })
      ),
    "ResourceLocked",
    "ACCESS_REFUSED - queue 'single' in vhost '/' in exclusive use"
  ],
  [
    "a reply consumer that acknowledges",
    (channel) => Client.consume(channel, "amq.rabbitmq.reply-to"),
    "ChannelClosed",
    "PRECONDITION_FAILED - reply consumer cannot acknowledge"
  ],
  [
    "a second reply consumer on a channel",
    (channel) =>
      Effect.andThen(
        Client.consume(channel, "amq.rabbitmq.reply-to", { noAck: true }),
        Client.consume(channel, "amq.rabbitmq.reply-to", { noAck: true })
      ),
    "ChannelClosed",
    "PRECONDITION_FAILED - reply consumer already set"
  ]
]

/** What closes the channel when it is published or acknowledged: there is no operation that could fail. */
type Closing = readonly [statement: string, write: (channel: Channel) => void, reason: string, text: string]

const closings: ReadonlyArray<Closing> = [
  [
    "publishing to an exchange that is missing",
    (channel) => Client.write(channel, { exchange: "missing" }),
    "NotFound",
    "NOT_FOUND - no exchange 'missing' in vhost '/'"
  ],
  [
    "publishing to an internal exchange",
    (channel) => Client.write(channel, { exchange: "internal" }),
    "AccessRefused",
    "ACCESS_REFUSED - cannot publish to internal exchange 'internal' in vhost '/'"
  ],
  [
    "a negative expiration",
    (channel) => Client.write(channel, { routingKey: "q", properties: { expiration: "-5" } }),
    "ChannelClosed",
    "PRECONDITION_FAILED - invalid expiration '-5': {value_negative,-5}"
  ],
  [
    "an expiration that is not a number",
    (channel) => Client.write(channel, { routingKey: "q", properties: { expiration: "soon" } }),
    "ChannelClosed",
    "PRECONDITION_FAILED - invalid expiration 'soon': no_integer"
  ],
  [
    "an empty expiration",
    (channel) => Client.write(channel, { routingKey: "q", properties: { expiration: "" } }),
    "ChannelClosed",
    "PRECONDITION_FAILED - invalid expiration '': no_integer"
  ],
  [
    "an expiration with a fraction",
    (channel) => Client.write(channel, { routingKey: "q", properties: { expiration: "1.5" } }),
    "ChannelClosed",
    "PRECONDITION_FAILED - invalid expiration '1.5': {leftover_string,\".5\"}"
  ],
  [
    "an expiration of more than ten years",
    (channel) => Client.write(channel, { routingKey: "q", properties: { expiration: "99999999999999" } }),
    "ChannelClosed",
    "PRECONDITION_FAILED - invalid expiration '99999999999999': {value_too_large,99999999999999}"
  ],
  [
    "the user id of another user",
    (channel) => Client.write(channel, { routingKey: "q", properties: { userId: "bob" } }),
    "ChannelClosed",
    "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was 'guest'"
  ],
  [
    "a reply-to without a reply consumer",
    (channel) => Client.write(channel, { routingKey: "q", properties: { replyTo: "amq.rabbitmq.reply-to" } }),
    "ChannelClosed",
    "PRECONDITION_FAILED - fast reply consumer does not exist"
  ],
  [
    "acknowledging a tag that is unknown",
    (channel) => channel.ackUnsafe(5, false),
    "ChannelClosed",
    "PRECONDITION_FAILED - unknown delivery tag 5"
  ],
  [
    "acknowledging up to a tag that is unknown",
    (channel) => channel.ackUnsafe(5, true),
    "ChannelClosed",
    "PRECONDITION_FAILED - unknown delivery tag 5"
  ],
  [
    "acknowledging tag 0 alone",
    (channel) => channel.ackUnsafe(0, false),
    "ChannelClosed",
    "PRECONDITION_FAILED - unknown delivery tag 0"
  ],
  [
    "nacking a tag that is unknown",
    (channel) => channel.nackUnsafe(5, false, true),
    "ChannelClosed",
    "PRECONDITION_FAILED - unknown delivery tag 5"
  ],
  [
    "rejecting a tag that is unknown",
    (channel) => channel.rejectUnsafe(5, true),
    "ChannelClosed",
    "PRECONDITION_FAILED - unknown delivery tag 5"
  ]
]

const prepared = Effect.gen(function*() {
  const channel = yield* Client.session
  yield* Client.queue(channel, "q")
  yield* Client.exchange(channel, "x", "direct")
  yield* Client.exchange(channel, "h", "headers")
  yield* Client.exchange(channel, "internal", "fanout", { internal: true })
  // A fresh channel, on which no queue was declared.
  return channel
})

const freshChannel = Effect.gen(function*() {
  const connection = yield* Client.connect()
  const first = yield* Client.open(connection)
  yield* first.close
  return yield* Client.open(connection)
})

export const refusals = suite("what RabbitMQ refuses, with its code and its text", {
  "it refuses declaring a classic queue again as a quorum queue": Effect.gen(function*() {
    const channel = yield* prepared
    const { version } = yield* Broker
    assert.deepStrictEqual(yield* Client.failure(Client.queue(channel, "q", { "x-queue-type": "quorum" })), {
      reason: "TopologyMismatch",
      text: "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received " +
        (version < 4 ? "the value 'quorum' of type 'longstr' but current is none" : "'quorum' but current is 'classic'")
    })
  }),
  ...rows(table, ([statement, operation, reason, text]) => [
    `it refuses ${statement}`,
    Effect.gen(function*() {
      yield* prepared
      const channel = yield* freshChannel
      assert.deepStrictEqual(yield* Client.failure(operation(channel)), { reason, text })
      assert.deepStrictEqual(yield* Client.closing(channel), { reason, text })
    })
  ]),
  ...rows(closings, ([statement, write, reason, text]) => [
    `it closes the channel for ${statement}`,
    Effect.gen(function*() {
      yield* prepared
      const channel = yield* freshChannel
      write(channel)
      assert.deepStrictEqual(yield* Client.closing(channel), { reason, text })
    })
  ])
})

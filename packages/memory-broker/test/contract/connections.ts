import { assert } from "@effect/vitest"
import { Clock, Deferred, Effect, Fiber, Queue, Redacted } from "effect"
import { AmqpError, OperationTimeout } from "effect-amqp/AmqpError"
import { Broker } from "./Broker.ts"
import * as Client from "./Client.ts"
import { suite } from "./Suite.ts"

const password = Redacted.make("secret")

const limited = Effect.fnUntraced(function*(
  username: string,
  permissions: { readonly configure: string; readonly write: string; readonly read: string }
) {
  const broker = yield* Broker
  yield* broker.addUser(username, password, permissions)
  const admin = yield* Client.session
  yield* Client.exchange(admin, "x", "direct")
  yield* Client.queue(admin, "q")
  const connection = yield* Client.connect({ username, password })
  return { admin, open: Client.open(connection) }
})

const refusal = (permission: string, what: string, user: string, version: number) => ({
  reason: "AccessRefused",
  text: version < 4
    ? `ACCESS_REFUSED - access to ${what} in vhost '/' refused for user '${user}'`
    : `ACCESS_REFUSED - ${permission} access to ${what} in vhost '/' refused for user '${user}'`
})

export const connections = suite("connections and who may do what", {
  "a wrong password is refused": Effect.gen(function*() {
    const failure = yield* Client.failure(Client.connect({ password: Redacted.make("wrong") }))
    assert.deepStrictEqual(failure, {
      reason: "AuthenticationRefused",
      text:
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."
    })
  }),
  "an unknown user is refused": Effect.gen(function*() {
    const failure = yield* Client.failure(Client.connect({ username: "nobody" }))
    assert.strictEqual(failure.reason, "AuthenticationRefused")
  }),
  "an unknown virtual host is refused": Effect.gen(function*() {
    const failure = yield* Client.failure(Client.connect({ vhost: "nowhere" }))
    assert.deepStrictEqual(failure, { reason: "VhostRefused", text: "NOT_ALLOWED - vhost nowhere not found" })
  }),
  "a virtual host that the user may not use is refused": Effect.gen(function*() {
    const broker = yield* Broker
    yield* broker.addUser("stranger", password, undefined)
    const failure = yield* Client.failure(Client.connect({ username: "stranger", password }))
    assert.deepStrictEqual(failure, {
      reason: "VhostRefused",
      text: "NOT_ALLOWED - access to vhost '/' refused for user 'stranger'"
    })
  }),
  "a user who has as many connections as allowed is refused until one of them closes": Effect.gen(function*() {
    const broker = yield* Broker
    const username = "limited"
    yield* broker.addUser(username, password, { configure: ".*", write: ".*", read: ".*" })
    yield* broker.limitConnectionsOfUser(username, 1)
    const first = yield* Client.connect({ username, password })
    yield* Client.elapse("300 millis")
    assert.deepStrictEqual(yield* Client.failure(Client.connect({ username, password })), {
      reason: "VhostRefused",
      text: "NOT_ALLOWED - connection refused for user 'limited': user connection limit (1) is reached"
    })
    yield* first.close
    yield* Client.elapse("300 millis")
    yield* Client.connect({ username, password })
  }),
  "a virtual host that has as many connections as allowed refuses another": Effect.gen(function*() {
    const broker = yield* Broker
    yield* broker.limitConnectionsOfVhost(1)
    yield* Client.connect()
    yield* Client.elapse("300 millis")
    assert.deepStrictEqual(yield* Client.failure(Client.connect()), {
      reason: "VhostRefused",
      text: "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (1) is reached"
    })
  }),
  "a node that has as many connections as allowed refuses another since 4.0": Effect.gen(function*() {
    const broker = yield* Broker
    if (broker.version < 4) return
    yield* broker.limitConnectionsOfNode(1)
    yield* Client.connect()
    yield* Client.elapse("300 millis")
    assert.deepStrictEqual(yield* Client.failure(Client.connect()), {
      reason: "VhostRefused",
      text: "NOT_ALLOWED - connection refused: node connection limit (1) is reached"
    })
  }),
  "a connection opens as many channels as it has negotiated, and its client asks for no more": Effect.gen(function*() {
    const broker = yield* Broker
    const older = yield* Client.connect()
    yield* broker.limitChannelsOfConnection(2)
    const connection = yield* Client.connect()
    const first = yield* Client.open(connection)
    yield* Client.open(connection)
    const { reason } = yield* Effect.flip(Client.open(connection))
    assert.deepInclude(reason as object, { _tag: "ChannelLimit", of: "connection", channelMax: 2 })
    yield* first.close
    yield* Client.open(connection)
    assert.deepStrictEqual(connection.endings, ["channel closed"])
    for (let opened = 0; opened < 3; opened++) yield* Client.open(older)
  }),
  "a user who has as many channels as allowed loses the connection that opens another": Effect.gen(function*() {
    const broker = yield* Broker
    const username = "limited"
    yield* broker.addUser(username, password, { configure: ".*", write: ".*", read: ".*" })
    yield* broker.limitChannelsOfUser(username, 2)
    const [one, two] = [
      yield* Client.connect({ username, password }),
      yield* Client.connect({ username, password })
    ]
    const channel = yield* Client.open(one)
    yield* Client.open(one)
    yield* Client.settle
    yield* Effect.flip(Client.open(two))
    const { reason, text } = yield* Client.ending(two)
    assert.strictEqual(reason, "ConnectionLost")
    const whose = broker.version === 4 ? /'rabbit@memory'|'rig-.*'/ : /'limited'/
    assert.match(text.replace(/ has reached.*/, ""), /^NOT_ALLOWED - number of channels opened for user '.*'$/)
    assert.match(text, whose)
    assert.match(
      text,
      broker.version < 4.03 ? /maximum allowed user limit of \(2\)$/ : /maximum allowed user limit of 2$/
    )
    assert.isTrue(channel.isOpen())
    yield* channel.close
    yield* Client.settle
    yield* Client.open(yield* Client.connect({ username, password }))
  }),
  "a node that has as many channels as allowed ends the connection that opens another since 4.0": Effect.gen(
    function*() {
      const broker = yield* Broker
      yield* broker.limitChannelsOfNode(2)
      const connection = yield* Client.connect()
      yield* Client.open(connection)
      yield* Client.open(connection)
      yield* Client.settle
      if (broker.version < 4) {
        yield* Client.open(connection)
        return
      }
      yield* Effect.flip(Client.open(connection))
      const { reason, text } = yield* Client.ending(connection)
      assert.strictEqual(reason, "ConnectionLost")
      assert.match(
        text,
        /^NOT_ALLOWED - number of channels opened on node '.*' has reached the maximum allowed limit of /
      )
      assert.match(text, broker.version < 4.03 ? /\(2\)$/ : / 2$/)
    }
  ),
  "a virtual host that is down closes its connections and refuses others until it is started": Effect.gen(function*() {
    const broker = yield* Broker
    const connection = yield* Client.connect()
    yield* broker.stopVhost
    const { reason, text } = yield* Client.ending(connection)
    assert.strictEqual(reason, "ConnectionLost")
    assert.match(text, /^CONNECTION_FORCED - vhost '.*' is down$/)
    const refused = yield* Client.failure(Client.connect())
    assert.strictEqual(refused.reason, "VhostRefused")
    assert.match(
      refused.text,
      /^INTERNAL_ERROR - access to vhost '\/' refused for user 'guest': vhost '.*' is down$/
    )
    yield* broker.startVhost
    yield* Client.connect()
  }),
  "who may not configure may not declare or delete": Effect.gen(function*() {
    const { open } = yield* limited("reader", { configure: "^mine", write: ".*", read: ".*" })
    const { version } = yield* Broker
    yield* Client.queue(yield* open, "mine")
    const attempts = [
      [(channel: Client.Channel) => Client.queue(channel, "other"), "queue 'other'"],
      [(channel: Client.Channel) => Client.exchange(channel, "other", "direct"), "exchange 'other'"],
      [(channel: Client.Channel) => channel.deleteQueue("q", { ifUnused: false, ifEmpty: false }), "queue 'q'"],
      [(channel: Client.Channel) => channel.deleteExchange("x", { ifUnused: false }), "exchange 'x'"]
    ] as const
    for (const [attempt, what] of attempts) {
      const failure = yield* Client.failure(attempt(yield* open))
      assert.deepStrictEqual(failure, refusal("configure", what, "reader", version))
    }
  }),
  "who may not write may not publish or bind queues": Effect.gen(function*() {
    const { open } = yield* limited("silent", { configure: ".*", write: "^mine", read: ".*" })
    const { version } = yield* Broker
    const channel = yield* open
    Client.write(channel, { exchange: "x", routingKey: "k" })
    assert.deepStrictEqual(yield* Client.closing(channel), refusal("write", "exchange 'x'", "silent", version))
    assert.deepStrictEqual(
      yield* Client.failure(Client.bind(yield* open, "q", "x")),
      refusal("write", "queue 'q'", "silent", version)
    )
  }),
  "who may not write to the default exchange is told its other name": Effect.gen(function*() {
    const { open } = yield* limited("mute", { configure: ".*", write: "^mine", read: ".*" })
    const { version } = yield* Broker
    const channel = yield* open
    Client.write(channel, { routingKey: "q" })
    assert.deepStrictEqual(
      yield* Client.closing(channel),
      refusal("write", "exchange 'amq.default'", "mute", version)
    )
  }),
  "who may not read may not get, consume, purge or bind to an exchange": Effect.gen(function*() {
    const { open } = yield* limited("writer", { configure: ".*", write: ".*", read: "^mine" })
    const { version } = yield* Broker
    const attempts = [
      [(channel: Client.Channel) => channel.get("q", { noAck: true }), "queue 'q'"],
      [(channel: Client.Channel) => Client.consume(channel, "q"), "queue 'q'"],
      [(channel: Client.Channel) => channel.purgeQueue("q"), "queue 'q'"],
      [(channel: Client.Channel) => Client.bind(channel, "q", "x"), "exchange 'x'"]
    ] as const
    for (const [attempt, what] of attempts) {
      const failure = yield* Client.failure(attempt(yield* open))
      assert.deepStrictEqual(failure, refusal("read", what, "writer", version))
    }
  }),
  "an exchange type that there is not closes the channel, and before 4.0 the whole connection": Effect.gen(function*() {
    const { version } = yield* Broker
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    const other = yield* Client.open(connection)
    const failure = yield* Client.failure(Client.exchange(channel, "new", "nope"))
    if (version < 4) {
      assert.deepStrictEqual(failure, {
        reason: "ConnectionLost",
        text: "COMMAND_INVALID - unknown exchange type 'nope'"
      })
      assert.strictEqual((yield* Client.closing(other)).reason, "ConnectionLost")
      assert.strictEqual((yield* Client.ending(connection)).reason, "ConnectionLost")
      assert.deepStrictEqual(connection.endings, ["channel closed", "channel closed", "connection closed"])
    } else {
      assert.deepStrictEqual(failure, {
        reason: "OperationRefused",
        text: "PRECONDITION_FAILED - unknown exchange type 'nope'"
      })
      yield* Client.closing(channel)
      assert.isTrue(other.isOpen())
    }
  }),
  "closing a connection ends its channels first, then itself, once": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    yield* connection.close
    yield* connection.close
    assert.deepStrictEqual(connection.endings, ["channel closed", "connection closed"])
    assert.strictEqual((yield* Client.ending(connection)).reason, "ConnectionClosed")
    assert.isFalse(channel.isOpen())
    assert.strictEqual(Client.write(channel, {}), -1)
  }),
  "destroying a connection tells everybody at once, with the error that is given": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    const error = new AmqpError({ operation: "test", reason: new OperationTimeout({ millis: 1 }) })
    connection.destroyUnsafe(error)
    assert.deepStrictEqual(connection.endings, ["channel closed", "connection closed"])
    assert.strictEqual(yield* Deferred.await(channel.closed), error)
    assert.strictEqual(yield* Deferred.await(connection.closed), error)
    connection.destroyUnsafe(error)
    assert.strictEqual(connection.endings.length, 2)
  }),
  "a channel whose opening was interrupted is told nothing, not even its end": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const interrupted = Effect.flatMap(
      Effect.forkChild(Client.open(connection), { startImmediately: true }),
      Fiber.interrupt
    )
    yield* interrupted
    yield* Client.settle
    yield* interrupted
    connection.destroyUnsafe(new AmqpError({ operation: "test", reason: new OperationTimeout({ millis: 1 }) }))
    assert.deepStrictEqual(connection.endings, ["connection closed"])
  }),
  "destroying a connection gives its messages back": Effect.gen(function*() {
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    yield* Client.queue(channel, "q")
    yield* Client.fill(channel, "q", "1")
    yield* Client.take(channel, "q")
    connection.destroyUnsafe(new AmqpError({ operation: "test", reason: new OperationTimeout({ millis: 1 }) }))
    yield* Client.settle
    assert.deepStrictEqual(yield* Client.bodies(yield* Client.session, "q"), ["1"])
  }),
  "a client that is cut off is given up in silence, what it had goes to others, and it gives up as well": Effect.gen(
    function*() {
      const broker = yield* Broker
      const { cutOff, host, port } = yield* broker.detour
      const far = yield* Client.connect({ host, port, heartbeat: 1 })
      const farChannel = yield* Client.open(far)
      yield* Client.queue(farChannel, "q", { "x-single-active-consumer": true })
      const first = yield* Client.consume(farChannel, "q")
      const channel = yield* Client.session
      const second = yield* Client.consume(channel, "q")
      yield* Client.fill(channel, "q", "1", "2")
      assert.strictEqual(Client.text(yield* first.next), "1")
      const before = yield* Clock.currentTimeMillis
      yield* cutOff
      const delivery = yield* Client.passingUntil(second.next)
      assert.deepStrictEqual([Client.text(delivery), delivery.redelivered], ["1", true])
      assert.isAtLeast((yield* Clock.currentTimeMillis) - before, 1000)
      assert.deepStrictEqual(yield* Client.passingUntil(Client.ending(far)), {
        reason: "ConnectionLost",
        text: "no heartbeat came from the broker"
      })
    }
  ),
  "an operation that waits fails when the connection is forced to close": Effect.gen(function*() {
    const broker = yield* Broker
    const connection = yield* Client.connect()
    yield* Client.open(connection)
    yield* broker.forceClose("maintenance")
    assert.deepStrictEqual(yield* Client.ending(connection), {
      reason: "ConnectionLost",
      text: "CONNECTION_FORCED - maintenance"
    })
    assert.deepStrictEqual(connection.endings, ["channel closed", "connection closed"])
  }),
  "an alarm blocks a connection when it publishes, and holds its confirms until it is over": Effect.gen(function*() {
    const broker = yield* Broker
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    yield* Client.queue(channel, "q")
    yield* broker.raiseMemoryAlarm
    yield* Effect.gen(function*() {
      const tag = Client.write(channel, { routingKey: "q", body: "1" })
      assert.strictEqual(yield* Queue.take(connection.blocked), "blocked: low on memory")
      yield* Client.settle
      assert.deepStrictEqual(channel.outcomes, [])
      const other = yield* Client.session
      assert.strictEqual((yield* other.checkQueue("q")).messageCount, 0)
      yield* broker.clearMemoryAlarm
      assert.strictEqual(yield* Queue.take(connection.blocked), "unblocked")
      assert.isTrue(yield* channel.confirmed(tag))
    }).pipe(Effect.ensuring(broker.clearMemoryAlarm))
  }),
  "an alarm leaves a connection that does not publish alone": Effect.gen(function*() {
    const broker = yield* Broker
    const connection = yield* Client.connect()
    const channel = yield* Client.open(connection)
    yield* broker.raiseMemoryAlarm
    yield* Effect.gen(function*() {
      yield* Client.queue(channel, "q")
      yield* Client.settle
      assert.strictEqual(yield* Queue.size(connection.blocked), 0)
    }).pipe(Effect.ensuring(broker.clearMemoryAlarm))
  }),
  "a connection that is blocked can be closed, and what it wrote is handled when the alarm is over": Effect.gen(
    function*() {
      const broker = yield* Broker
      const connection = yield* Client.connect()
      const channel = yield* Client.open(connection)
      yield* Client.queue(channel, "q")
      yield* broker.raiseMemoryAlarm
      yield* Effect.gen(function*() {
        Client.write(channel, { routingKey: "q", body: "1" })
        yield* Queue.take(connection.blocked)
        yield* connection.close
        assert.deepStrictEqual(connection.endings, ["channel closed", "connection closed"])
        yield* Client.settle
        const other = yield* Client.session
        assert.strictEqual((yield* other.checkQueue("q")).messageCount, 0)
        yield* broker.clearMemoryAlarm
        yield* Client.settle
        assert.strictEqual((yield* other.checkQueue("q")).messageCount, 1)
      }).pipe(Effect.ensuring(broker.clearMemoryAlarm))
    }
  ),
  "channels are numbered independently and can be reopened": Effect.gen(function*() {
    const connection = yield* Client.connect()
    for (let i = 0; i < 20; i++) {
      const channel = yield* Client.open(connection)
      assert.isTrue(yield* Client.publish(channel, { routingKey: "nowhere" }))
      yield* channel.close
    }
  })
})

/**
 * Puts the embedded broker under a program that knows nothing of it: `node --import ./embedded.mjs program.ts`. It is
 * the driver that `CurrentDriver` gives where nobody provides one. Plain JavaScript, so that it runs in projects without
 * TypeScript too.
 *
 * EMBEDDED_FEED is JSON of one message, which is published as soon as its queue is there.
 */
import { Context, Effect, Scope } from "effect"
import { AmqpConnection, AmqpPublisher } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { CurrentDriver } from "effect-amqp/CurrentDriver"

const context = Effect.runSync(Scope.provide(AmqpMemory.make(), Scope.makeUnsafe()))
Object.assign(CurrentDriver, { defaultValue: () => Context.get(context, CurrentDriver) })

const feed = process.env["EMBEDDED_FEED"]
if (feed !== undefined) {
  const message = JSON.parse(feed)
  const broker = Context.get(context, AmqpMemory.AmqpMemory)
  const publish = Effect.gen(function*() {
    while ((yield* broker.queue(message.routingKey)) === undefined) yield* Effect.sleep("20 millis")
    const publisher = yield* AmqpPublisher.make()
    yield* publisher.publish(message)
  })
  Effect.runFork(publish.pipe(Effect.scoped, Effect.provide(AmqpConnection.layer())))
}

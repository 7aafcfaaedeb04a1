import { assert, it } from "@effect/vitest"
import amqplib from "amqplib"
import { Effect, Layer, Option, Schedule } from "effect"
import { AmqpChannel, AmqpConnection, AmqpConsumer, AmqpTopology } from "effect-amqp"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import type { Duplex } from "node:stream"
import { definitions } from "../support/AmqplibCodec.ts"
import { logging } from "../support/Consuming.ts"
import { bodyFrame, entry, headerFrame, long, nested, sized } from "../support/ForeignFrames.ts"

const strange: ReadonlyArray<readonly [what: string, value: Buffer]> = [
  ["a timestamp before 1970", long("T", -86_400n)],
  ["a timestamp of microseconds", long("T", 1_700_000_000_000_000n)],
  ["an integer of 64 bits", long("l", 9_223_372_036_854_775_807n)],
  ["a text that is no UTF-8", sized("S", Buffer.from([0xff, 0xfe, 0x80]))],
  ["a table with the key \"!\"", sized("F", entry("!", sized("S", Buffer.from("x"))))],
  ["tables of 40 levels", nested(40)],
  ["a text of 65,400 bytes", sized("S", Buffer.alloc(65_400, "x"))]
]

/** Publishes a message with header bytes that amqplib would not write. */
const publishRaw = (url: string, queue: string, entries: Buffer) =>
  Effect.acquireUseRelease(
    Effect.promise(() => amqplib.connect(url)),
    (connection) =>
      Effect.promise(async () => {
        const channel = await connection.createChannel()
        const { ch } = channel as unknown as { readonly ch: number }
        const { stream } = (connection as unknown as { readonly connection: { readonly stream: Duplex } }).connection
        stream.write(Buffer.concat([
          definitions.encodeMethod(definitions.BasicPublish, ch, {
            ticket: 0,
            exchange: "",
            routingKey: queue,
            mandatory: false,
            immediate: false
          }),
          headerFrame(ch, entries, 2),
          bodyFrame(ch, "hi")
        ]))
        // Its answer comes when the publish was read.
        await channel.checkQueue(queue)
      }),
    (connection) => Effect.promise(() => connection.close())
  )

describeWithSharedBroker("a message with strange headers, before RabbitMQ", () => {
  for (const type of ["classic", "quorum"] as const) {
    it.live(
      `is retried from a ${type} queue on schedule, and parked with its header byte by byte`,
      () =>
        Effect.flatMap(SharedRabbitMq.make, ({ url }) =>
          Effect.gen(function*() {
            const channel = yield* AmqpChannel.AmqpChannel
            for (const [index, [what, value]] of strange.entries()) {
              const queue = AmqpTopology.queue(`strange-${index}`, { type })
              yield* AmqpTopology.declare(AmqpTopology.make(queue))
              const attempts: Array<number> = []
              const consumer = yield* AmqpConsumer.make(
                queue,
                ({ attempts: attempt }) => Effect.andThen(Effect.sync(() => attempts.push(attempt)), Effect.fail("no")),
                { onFailure: AmqpConsumer.retry(Schedule.upTo(Schedule.spaced("50 millis"), { times: 2 })) }
              )
              const entries = entry("h", value)
              yield* publishRaw(url, queue.name, entries)
              yield* Effect.repeat(consumer.counts, {
                until: ({ parked }) => parked === 1,
                schedule: Schedule.spaced("20 millis")
              })
              assert.deepStrictEqual(attempts, [1, 2, 3], what)
              const parked = Option.getOrThrow(yield* channel.get(`${queue.name}.parked`))
              const { rawHeaders } = parked.properties
              assert.isDefined(rawHeaders, what)
              assert.isTrue(Buffer.from(rawHeaders).includes(entries), what)
              yield* parked.ack()
            }
          }).pipe(
            Effect.scoped,
            Effect.provide(AmqpChannel.layer().pipe(Layer.provideMerge(AmqpConnection.layer({ endpoints: url })))),
            Effect.provide(logging([]))
          )),
      120_000
    )
  }
})

import * as amqplib from "amqplib"
import * as Effect from "effect/Effect"
import type { Contender } from "./Caller.ts"
import { inLoops } from "./Caller.ts"

const connect = (url: string) =>
  Effect.acquireRelease(
    Effect.promise(() => amqplib.connect(url, { noDelay: true })),
    (connection) => Effect.promise(() => connection.close())
  )

/** Raw amqplib with JSON and a reply queue: no confirms, no deadlines, no recovery, nobody hears of a return. */
export const amqplibWithJson: Contender = Effect.fnUntraced(function*(url, queue) {
  const [server, client] = [yield* connect(url), yield* connect(url)]
  return yield* Effect.promise(async () => {
    const answering = await server.createChannel()
    await answering.assertQueue(queue, { durable: false, autoDelete: true })
    await answering.prefetch(256)
    await answering.consume(queue, (message) => {
      if (message === null) return
      const { a, b } = JSON.parse(message.content.toString()) as { readonly a: number; readonly b: number }
      const { correlationId, replyTo } = message.properties as {
        readonly correlationId: string
        readonly replyTo: string
      }
      answering.sendToQueue(replyTo, Buffer.from(JSON.stringify({ sum: a + b })), {
        correlationId,
        contentType: "application/json"
      })
      answering.ack(message)
    })
    const calling = await client.createChannel()
    const { queue: replyTo } = await calling.assertQueue("", { exclusive: true, durable: false })
    const waiting = new Map<string, (sum: number) => void>()
    await calling.consume(replyTo, (message) => {
      if (message === null) return
      const id = message.properties.correlationId as string
      const resolve = waiting.get(id)
      waiting.delete(id)
      resolve?.((JSON.parse(message.content.toString()) as { readonly sum: number }).sum)
    }, { noAck: true })
    let next = 0
    const add = (a: number): Promise<number> =>
      new Promise((resolve) => {
        const correlationId = String(next++)
        waiting.set(correlationId, resolve)
        calling.sendToQueue(queue, Buffer.from(JSON.stringify({ a, b: 1 })), {
          correlationId,
          replyTo,
          contentType: "application/json"
        })
      })
    return { call: (count: number, atOnce: number) => inLoops(count, atOnce, add) }
  })
})

import * as Effect from "effect/Effect"
import { Connection } from "rabbitmq-client"
import type { Contender } from "./Caller.ts"
import { inLoops } from "./Caller.ts"

const connect = (url: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const connection = new Connection({ url, noDelay: true })
      connection.on("error", () => {})
      await connection.onConnect()
      return connection
    }),
    (connection) => Effect.promise(() => connection.close())
  )

/** rabbitmq-client's RPC, as its manual shows it: confirmed requests, direct reply-to, one deadline. */
export const rabbitmqClient: Contender = Effect.fnUntraced(function*(url, queue) {
  const [server, client] = [yield* connect(url), yield* connect(url)]
  const answering = yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const consumer = server.createConsumer(
        { queue, qos: { prefetchCount: 256 }, queueOptions: { durable: false, autoDelete: true } },
        async (message, reply) => {
          const { a, b } = message.body as { readonly a: number; readonly b: number }
          await reply({ sum: a + b })
        }
      )
      await new Promise<void>((resolve) => consumer.once("ready", resolve))
      return consumer
    }),
    (consumer) => Effect.promise(() => consumer.close())
  )
  void answering
  const rpc = yield* Effect.acquireRelease(
    Effect.sync(() => client.createRPCClient({ confirm: true })),
    (rpc) => Effect.promise(() => rpc.close())
  )
  const add = async (a: number): Promise<number> => {
    const answer = await rpc.send(queue, { a, b: 1 })
    return (answer.body as { readonly sum: number }).sum
  }
  return { call: (count, atOnce) => inLoops(count, atOnce, add) }
})

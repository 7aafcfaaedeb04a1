import * as amqplib from "amqplib"

/**
 * Takes every message out of a queue, with raw amqplib: the judge of the library must not rest on the library. Ends
 * when no message has come for a while.
 */
export const drain = async (
  url: string,
  queue: string,
  onMessage: (body: Buffer) => void,
  silenceMillis = 1500
): Promise<void> => {
  const connection = await amqplib.connect(url)
  connection.on("error", () => {})
  const channel = await connection.createChannel()
  await channel.prefetch(2000)
  let last = performance.now()
  let unacked = 0
  await channel.consume(queue, (message) => {
    if (message === null) return
    last = performance.now()
    onMessage(message.content)
    unacked++
    if (unacked < 1000) return
    channel.ack(message, true)
    unacked = 0
  })
  while (performance.now() - last < silenceMillis) {
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  channel.ackAll()
  await channel.close()
  await connection.close()
}

import type { ConfirmChannel } from "amqplib"
import * as amqplib from "amqplib"

/** A confirm channel of amqplib's on a connection of its own, as its documentation opens one. */
export const openAmqplibChannel = async (
  url: string
): Promise<{ readonly channel: ConfirmChannel; readonly close: () => Promise<void> }> => {
  const connection = await amqplib.connect(url, { noDelay: true })
  connection.on("error", () => {})
  const channel = await connection.createConfirmChannel()
  return { channel, close: () => connection.close() }
}

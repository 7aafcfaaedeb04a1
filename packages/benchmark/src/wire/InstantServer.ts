/**
 * A server that speaks as much AMQP 0-9-1 as it takes to accept a publisher and a consumer. It drops what it gets and
 * confirms it at once, with `multiple` for all that came in one read, as RabbitMQ does; and it feeds a consumer with
 * messages without end, as many as the prefetch allows. In front of it the client is the limit, not the broker.
 */
import type { AddressInfo, Socket } from "node:net"
import { createServer } from "node:net"
import { Feed } from "./Feed.ts"
import * as Frames from "./Frames.ts"

const heartbeatMillis = 5000

const capabilities = Frames.table({
  publisher_confirms: true,
  exchange_exchange_bindings: true,
  "basic.nack": true,
  consumer_cancel_notify: true,
  "connection.blocked": true,
  authentication_failure_close: true,
  per_consumer_qos: true
})

interface Channel {
  published: number
  acknowledged: number
  bodyLeft: number
  prefetch: number
  feed: Feed | undefined
  /** The delivery tag of the next message. */
  nextTag: number
}

const shortStringAt = (bytes: Buffer, at: number): string => bytes.toString("utf8", at + 1, at + 1 + bytes[at]!)
const tagAt = (bytes: Buffer, at: number): number => bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4)

const serve = (socket: Socket): void => {
  const channels = new Map<number, Channel>()
  let greeted = false
  let consumers = 0
  let answers: Array<Buffer> = []

  const complete = (channel: Channel) => {
    channel.published++
  }

  const reader = new Frames.FrameReader({
    onMethod(number, classId, methodId, bytes, at) {
      const answer = (id: number, ...fields: ReadonlyArray<Buffer>) => {
        answers.push(Frames.method(number, classId, id, ...fields))
      }
      switch (classId * 1000 + methodId) {
        case 10_011:
          return answer(30, Frames.integer(2047, 2), Frames.integer(131072, 4), Frames.integer(60, 2))
        case 10_040:
          return answer(41, Frames.shortString(""))
        case 10_050:
          return answer(51)
        case 20_010:
          channels.set(number, {
            published: 0,
            acknowledged: 0,
            bodyLeft: 0,
            prefetch: 0,
            feed: undefined,
            nextTag: 1
          })
          return answer(11, Frames.longString(""))
        case 20_040:
          channels.delete(number)
          return answer(41)
        case 40_010:
        case 85_010:
          return answer(11)
        case 60_010:
          channels.get(number)!.prefetch = bytes.readUInt16BE(at + 4)
          return answer(11)
        case 60_020: {
          const queue = shortStringAt(bytes, at + 2)
          const asked = shortStringAt(bytes, at + 3 + bytes[at + 2]!)
          const consumerTag = asked === "" ? `consumer-${++consumers}` : asked
          const channel = channels.get(number)!
          channel.feed = new Feed(number, consumerTag, queue, channel.prefetch, channel.nextTag)
          return answer(21, Frames.shortString(consumerTag))
        }
        case 60_030: {
          const channel = channels.get(number)!
          channel.nextTag = channel.feed?.nextTag ?? channel.nextTag
          channel.feed = undefined
          return answer(31, Frames.shortString(shortStringAt(bytes, at)))
        }
        case 60_080:
        case 60_120:
          return channels.get(number)!.feed?.settle(tagAt(bytes, at), (bytes[at + 8]! & 1) === 1)
        case 60_090:
          return channels.get(number)!.feed?.settle(tagAt(bytes, at), false)
        case 50_010: {
          return answer(
            11,
            Frames.shortString(shortStringAt(bytes, at + 2)),
            Frames.integer(0, 4),
            Frames.integer(0, 4)
          )
        }
        case 50_030:
          return answer(31, Frames.integer(0, 4))
      }
    },
    onHeader(number, bodySize) {
      const channel = channels.get(number)
      if (channel === undefined) return
      channel.bodyLeft = bodySize
      if (bodySize === 0) complete(channel)
    },
    onBody(number, size) {
      const channel = channels.get(number)
      if (channel === undefined) return
      channel.bodyLeft -= size
      if (channel.bodyLeft === 0) complete(channel)
    }
  })

  socket.setNoDelay(true)
  socket.on("error", () => socket.destroy())
  socket.on("data", (chunk) => {
    if (greeted) reader.read(chunk)
    else {
      greeted = true
      answers.push(Frames.method(
        0,
        10,
        10,
        Frames.integer(0, 1),
        Frames.integer(9, 1),
        Frames.table({ product: "instant", capabilities }),
        Frames.longString("PLAIN"),
        Frames.longString("en_US")
      ))
    }
    for (const [number, channel] of channels) {
      if (channel.acknowledged === channel.published) continue
      channel.acknowledged = channel.published
      answers.push(Frames.ack(number, channel.published, true))
    }
    for (const { feed } of channels.values()) {
      const deliveries = feed?.take()
      if (deliveries !== undefined) answers.push(deliveries)
    }
    if (answers.length === 0) return
    socket.write(answers.length === 1 ? answers[0]! : Buffer.concat(answers))
    answers = []
  })
  const beat = setInterval(() => socket.write(Frames.heartbeat), heartbeatMillis)
  socket.on("close", () => clearInterval(beat))
}

const server = createServer(serve)
server.listen(0, "127.0.0.1", () => process.send?.({ port: (server.address() as AddressInfo).port }))
process.on("disconnect", () => process.exit(0))

import { assert, describe, it } from "@effect/vitest"
import type { DriverDelivery, DriverReturn, WireProperties } from "../../src/AmqpDriver.ts"
import type { Headers } from "../../src/AmqpMessage.ts"
import type { FrameHandler } from "../../src/internal/wire/frameReader.ts"
import { FrameReader } from "../../src/internal/wire/frameReader.ts"
import { WireError } from "../../src/internal/wire/WireError.ts"
import { definitions, frames, message as amqplibMessage } from "../support/AmqplibCodec.ts"
import { makeRandom, propertiesForAmqplib, tableAsRead } from "../support/RandomMessages.ts"

type Seen = readonly [what: string, channel: number, ...details: ReadonlyArray<unknown>]

const plain = ({ headers, ...properties }: WireProperties): Record<string, unknown> => {
  const seen: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(properties)) {
    if (value !== undefined && name !== "rawHeaders") seen[name] = value
  }
  if (headers !== undefined) seen["headers"] = headers
  return seen
}

const plainDelivery = ({ body, deliveryTag, exchange, properties, redelivered, routingKey }: DriverDelivery) => ({
  deliveryTag,
  redelivered,
  exchange,
  routingKey,
  properties: plain(Object.assign(Object.create(null), properties, { headers: properties.headers }) as WireProperties),
  body: Buffer.from(body).toString("hex")
})

/** A reader, and all that it told of. */
const make = (frameMax = 4096, isOpen: FrameHandler["isOpen"] = () => true) => {
  const seen: Array<Seen> = []
  const reader = new FrameReader({
    isOpen,
    onDelivery: (channel, consumerTag, delivery) =>
      seen.push(["delivery", channel, consumerTag, plainDelivery(delivery)]),
    onGetOk: (channel, delivery) => seen.push(["get-ok", channel, plainDelivery(delivery)]),
    onReturn: (channel, returned: DriverReturn) => seen.push(["return", channel, returned]),
    onConfirm: (channel, tag, multiple, ack) => seen.push(["confirm", channel, tag, multiple, ack]),
    onCancel: (channel, consumerTag) => seen.push(["cancel", channel, consumerTag])
  }, frameMax)
  const push = (chunk: Buffer): void => {
    reader.push(chunk)
    for (let frame = reader.read(); frame !== undefined; frame = reader.read()) {
      seen.push(["frame", frame.readUInt16BE(1), frame.toString("hex")])
    }
  }
  return { push, seen }
}

/** A random session as a broker would send it, and what is to be seen of it. */
const session = (seed: number, frameMax: number, length: number) => {
  const random = makeRandom(seed)
  const parts: Array<Buffer> = []
  const expected: Array<Seen> = []
  for (let count = 0; count < length; count++) {
    const channel = 1 + random.below(3)
    const tag = random.oneOf([1, 2, 300, 70_000, 2 ** 33])
    const { body, exchange, properties, routingKey } = random.message(frameMax)
    const redelivered = random.chance(0.5)
    const headers: Headers | undefined = properties.headers === undefined ? undefined : tableAsRead(properties.headers)
    const delivery = {
      deliveryTag: tag,
      redelivered,
      exchange,
      routingKey,
      properties: plain({ ...properties, headers }),
      body: Buffer.from(body).toString("hex")
    }
    const content = (id: number, fields: Record<string, unknown>) =>
      parts.push(
        amqplibMessage(channel, id, fields, propertiesForAmqplib(properties), Buffer.from(body), frameMax)
      )
    switch (random.below(8)) {
      case 0:
      case 1:
      case 2: {
        const consumerTag = random.short()
        content(definitions.BasicDeliver, { consumerTag, deliveryTag: tag, redelivered, exchange, routingKey })
        expected.push(["delivery", channel, consumerTag, delivery])
        break
      }
      case 3:
        content(definitions.BasicGetOk, { deliveryTag: tag, redelivered, exchange, routingKey, messageCount: 3 })
        expected.push(["get-ok", channel, delivery])
        break
      case 4: {
        const replyText = random.short()
        content(definitions.BasicReturn, { replyCode: 312, replyText, exchange, routingKey })
        expected.push(["return", channel, {
          replyCode: 312,
          replyText,
          exchange,
          routingKey,
          messageId: properties.messageId
        }])
        break
      }
      case 5: {
        const multiple = random.chance(0.5)
        const ack = random.chance(0.7)
        parts.push(
          definitions.encodeMethod(ack ? definitions.BasicAck : definitions.BasicNack, channel, {
            deliveryTag: tag,
            multiple,
            requeue: false
          })
        )
        expected.push(["confirm", channel, tag, multiple, ack])
        break
      }
      case 6: {
        const consumerTag = random.short()
        parts.push(definitions.encodeMethod(definitions.BasicCancel, channel, { consumerTag, nowait: true }))
        expected.push(["cancel", channel, consumerTag])
        break
      }
      default: {
        const frame = definitions.encodeMethod(definitions.QueueDeclareOk, channel, {
          queue: random.short(),
          messageCount: 1,
          consumerCount: 2
        })
        parts.push(frame, Buffer.from([8, 0, 0, 0, 0, 0, 0, 206]))
        expected.push(["frame", channel, frame.toString("hex")])
      }
    }
  }
  return { bytes: Buffer.concat(parts), expected }
}

/** A header frame may be larger than was agreed on: sessions of random headers need that here. */
const fits = (seed: number, frameMax: number): boolean => {
  try {
    const { push } = make(frameMax)
    push(session(seed, frameMax, 8).bytes)
    return true
  } catch {
    return false
  }
}

const seedsOf = (count: number, frameMax: number): ReadonlyArray<number> => {
  const seeds: Array<number> = []
  for (let seed = 1; seeds.length < count; seed++) if (fits(seed, frameMax)) seeds.push(seed)
  return seeds
}

describe("A reader of frames", () => {
  it("reads what amqplib wrote, for 1,000 random sessions", () => {
    for (const seed of seedsOf(1000, 8192)) {
      const { bytes, expected } = session(seed, 8192, 8)
      const { push, seen } = make(8192)
      push(bytes)
      assert.deepStrictEqual(seen, expected, `seed ${seed}`)
    }
  })

  it("reads the same, wherever the stream is cut in two", () => {
    for (const seed of seedsOf(12, 4096)) {
      const { bytes, expected } = session(seed, 4096, 4)
      for (let cut = 0; cut <= bytes.length; cut++) {
        const { push, seen } = make()
        push(bytes.subarray(0, cut))
        push(bytes.subarray(cut))
        if (seen.length !== expected.length || cut % 50 === 0) assert.deepStrictEqual(seen, expected, `${seed}/${cut}`)
      }
    }
  })

  it("reads the same byte by byte, and in random pieces", () => {
    for (const seed of seedsOf(60, 4096)) {
      const { bytes, expected } = session(seed, 4096, 6)
      const single = make()
      for (let at = 0; at < bytes.length; at++) single.push(bytes.subarray(at, at + 1))
      assert.deepStrictEqual(single.seen, expected, `seed ${seed}, byte by byte`)
      const random = makeRandom(seed)
      const pieces = make()
      for (let at = 0; at < bytes.length;) {
        const length = 1 + random.below(random.oneOf([3, 30, 3000]))
        pieces.push(bytes.subarray(at, at + length))
        at += length
      }
      assert.deepStrictEqual(pieces.seen, expected, `seed ${seed}, in pieces`)
    }
  })

  it("copies no body that lies in one piece, and a large one that comes in parts about once", () => {
    const body = Buffer.alloc(8_000_000, 7)
    const bytes = amqplibMessage(
      1,
      definitions.BasicDeliver,
      { consumerTag: "c", deliveryTag: 1, redelivered: false, exchange: "", routingKey: "q" },
      {},
      body,
      131072
    )
    const small = amqplibMessage(
      1,
      definitions.BasicDeliver,
      { consumerTag: "c", deliveryTag: 2, redelivered: false, exchange: "", routingKey: "q" },
      {},
      Buffer.from("whole"),
      131072
    )
    let copied = 0
    const copy = Buffer.prototype.copy
    Buffer.prototype.copy = function(...args: Parameters<Buffer["copy"]>) {
      const length = copy.apply(this, args)
      copied += length
      return length
    }
    try {
      const bodies: Array<Uint8Array> = []
      const reader = new FrameReader({
        isOpen: () => true,
        onDelivery: (_, __, delivery) => bodies.push(delivery.body),
        onGetOk() {},
        onReturn() {},
        onConfirm() {},
        onCancel() {}
      }, 131072)
      for (let at = 0; at < bytes.length; at += 65536) {
        reader.push(bytes.subarray(at, at + 65536))
        assert.isUndefined(reader.read())
      }
      assert.strictEqual(bodies.length, 1)
      assert.isTrue(body.equals(bodies[0]!))
      assert.isBelow(copied, 2.1 * body.length)
      copied = 0
      reader.push(small)
      assert.isUndefined(reader.read())
      assert.strictEqual(bodies[1]!.buffer, small.buffer)
      assert.strictEqual(copied, 0)
    } finally {
      Buffer.prototype.copy = copy
    }
  })

  it("reads headers that a broker made larger than a frame, and says of a table that it cannot be read when it is", () => {
    const deliveries: Array<DriverDelivery> = []
    const reader = new FrameReader({
      isOpen: () => true,
      onDelivery: (_, __, delivery) => deliveries.push(delivery),
      onGetOk() {},
      onReturn() {},
      onConfirm() {},
      onCancel() {}
    }, 4096)
    const fields = { consumerTag: "c", deliveryTag: 1, redelivered: false, exchange: "", routingKey: "q" }
    const headers = { long: "a".repeat(5000), odd: true }
    const bytes = amqplibMessage(
      1,
      definitions.BasicDeliver,
      fields,
      { headers, messageId: "m" },
      Buffer.from("b"),
      4096
    )
    reader.push(bytes)
    assert.isUndefined(reader.read())
    assert.strictEqual(deliveries[0]!.properties.headers!["odd"], true)
    const strange = Buffer.from(bytes)
    strange[strange.indexOf("odd") + 3] = 0x3f
    reader.push(strange)
    assert.isUndefined(reader.read())
    const { body, properties } = deliveries[1]!
    assert.strictEqual(Buffer.from(body).toString(), "b")
    assert.strictEqual(properties.messageId, "m")
    assert.throws(() => properties.headers, /"\?" is no type of a field/)
  })
})

const frame = (type: number, channel: number, payload: ReadonlyArray<number>, size = payload.length, end = 206) => {
  const bytes = Buffer.from([type, channel >> 8, channel & 255, 0, 0, 0, 0, ...payload, end])
  bytes.writeUInt32BE(size, 3)
  return bytes
}

const deliver = definitions.encodeMethod(definitions.BasicDeliver, 1, {
  consumerTag: "c",
  deliveryTag: 1,
  redelivered: false,
  exchange: "",
  routingKey: "q"
})

const header = (size: number) => definitions.encodeProperties(definitions.BasicProperties, 1, size, { type: "t" })

const lying = (size: bigint): Buffer => {
  const bytes = Buffer.from(header(1))
  bytes.writeBigUInt64BE(size, 11)
  return bytes
}

describe("A hostile peer", () => {
  it.each<[string, ReadonlyArray<Buffer>, RegExp]>([
    ["a frame of an unknown type", [frame(9, 0, [])], /a frame of type 9/],
    ["HTTP", [Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n")], /a frame of type 72/],
    ["a frame that ends wrongly", [frame(1, 1, [0, 10, 0, 50], 4, 205)], /ends with 0xcd instead of 0xce/],
    ["a frame beyond what was agreed on", [frame(1, 1, [], 4097)], /a frame of 4097 bytes, and frames of at most 4088/],
    ["a header frame of 100 MiB", [deliver, frame(2, 1, [], 104857600)], /a frame of 104857600 bytes/],
    ["a body frame beyond what was agreed on", [deliver, header(9000), frame(3, 1, [], 4097)], /a frame of 4097 bytes/],
    ["a heartbeat on a channel", [frame(8, 1, [])], /a heartbeat of 0 bytes on channel 1/],
    ["a heartbeat with something in it", [frame(8, 0, [1])], /a heartbeat of 1 bytes on channel 0/],
    ["a method frame without a method", [frame(1, 1, [0, 60])], /a method frame that ends within a field/],
    ["a delivery that is cut", [frame(1, 1, [0, 60, 0, 60, 9, 97])], /a method frame that ends within a field/],
    ["a delivery that is too long", [frame(1, 1, [...deliver.subarray(7, -1), 0])], /with 1 bytes too many/],
    ["a confirm that is too long", [frame(1, 1, [0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0])], /1 bytes too many/],
    ["a header without a message", [header(3)], /a header frame on channel 1, where no message has begun/],
    ["a body without a message", [frame(3, 1, [1])], /a body frame on channel 1, where none was announced/],
    ["a body without a header", [deliver, frame(3, 1, [1])], /a body frame on channel 1, where none was announced/],
    ["two headers", [deliver, header(3), header(3)], /a header frame on channel 1/],
    ["a body behind an empty one", [deliver, header(0), frame(3, 1, [1])], /where none was announced/],
    [
      "a longer body than announced",
      [deliver, header(3), frame(3, 1, [1, 2, 3, 4])],
      /of 4 bytes .* where 3 were left/
    ],
    [
      "a body that is longer in its second part",
      [deliver, header(3), frame(3, 1, [1, 2]), frame(3, 1, [1, 2])],
      /1 were/
    ],
    [
      "a shorter body than announced",
      [deliver, header(3), frame(3, 1, [1]), deliver],
      /a basic\.deliver on .* amid a me/
    ],
    ["a method amid a message", [deliver, frame(1, 1, [0, 50, 0, 11, 0])], /the method 50\.11 on channel 1, amid/],
    ["a body of 2^62 bytes", [deliver, lying(2n ** 62n)], /a message of 4611686018427388000 bytes/],
    ["a body of 4 GiB", [deliver, lying(2n ** 32n)], /a message of 4294967296 bytes/],
    ["content of another class", [deliver, frame(2, 1, [0, 61, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])], /of class 61/],
    ["a header that is cut", [deliver, frame(2, 1, [0, 60, 0, 0])], /a header frame that ends within a field/],
    [
      "a property that is cut",
      [deliver, frame(2, 1, [...Array(12).fill(0).with(1, 60), 0x80, 0, 9])],
      /within a field/
    ],
    ["more flags than there are", [deliver, frame(2, 1, [...Array(12).fill(0).with(1, 60), 0, 1])], /flags 0x1/],
    [
      "a header table that is longer than its frame",
      [deliver, frame(2, 1, [...Array(12).fill(0).with(1, 60), 0x20, 0, 255, 255, 255, 255])],
      /within a field/
    ],
    [
      "a delivery on a channel that is not open",
      [frame(1, 77, [...deliver.subarray(7, -1)])],
      /channel 77, which is not/
    ],
    [
      "a confirm on a channel that is not open",
      [frame(1, 77, [0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 1, 0])],
      /channel 77/
    ],
    [
      "a cancel on a channel that is not open",
      [frame(1, 77, [0, 60, 0, 30, 1, 97, 1])],
      /a basic\.cancel on channel 77/
    ]
  ])("that sends %s is told what was seen, as a whole and byte by byte", (_, parts, seen) => {
    const bytes = Buffer.concat(parts)
    assert.throws(() => make(4096, (channel) => channel < 10).push(bytes), seen)
    assert.throws(() => {
      const { push } = make(4096, (channel) => channel < 10)
      for (let at = 0; at < bytes.length; at++) push(bytes.subarray(at, at + 1))
    }, seen)
  })

  it("that announces a large body sets aside no more than what comes, and one MiB", () => {
    const allocate = Buffer.allocUnsafeSlow
    let allocated = 0
    Buffer.allocUnsafeSlow = (size) => {
      allocated += size
      return allocate(size)
    }
    try {
      const { push } = make()
      push(Buffer.concat([deliver, lying(2n ** 30n), frame(3, 1, [1, 2, 3])]))
    } finally {
      Buffer.allocUnsafeSlow = allocate
    }
    assert.isAtMost(allocated, 0x100000)
  })

  it("that changes, drops, doubles or swaps bytes ends in an error of the wire or in messages, 20,000 times", () => {
    const recorded = seedsOf(40, 4096).map((seed) => session(seed, 4096, 6).bytes)
    for (let seed = 1; seed <= 20_000; seed++) {
      const random = makeRandom(seed)
      const source = random.oneOf(recorded)
      let bytes = Buffer.from(source)
      for (let count = 1 + random.below(4); count > 0; count--) {
        const at = random.below(bytes.length)
        const length = 1 + random.below(9)
        switch (random.below(5)) {
          case 0:
            bytes[at] = random.below(256)
            break
          case 1:
            bytes[at]! ^= 1 << random.below(8)
            break
          case 2:
            bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)])
            break
          case 3:
            bytes = Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)])
            break
          default:
            bytes.writeUInt32BE(random.oneOf([0, 1, 0x7fffffff, 0xffffffff]), Math.min(at, bytes.length - 4))
        }
      }
      try {
        const reader = make()
        for (let at = 0; at < bytes.length;) {
          const size = 1 + random.below(5000)
          reader.push(bytes.subarray(at, at + size))
          at += size
        }
        assert.isAtMost(reader.seen.length, bytes.length)
      } catch (error) {
        if (!(error instanceof WireError) && !(error instanceof Error && error.name === "UnreadableTable")) throw error
      }
    }
  })
})

describe("amqplib's frames", () => {
  it("are handed back whole, so that amqplib reads them as it would have", () => {
    const ok = definitions.encodeMethod(definitions.QueueDeclareOk, 3, {
      queue: "q",
      messageCount: 1,
      consumerCount: 0
    })
    const { push, seen } = make()
    push(ok)
    const parsed = frames.parseFrame(Buffer.from(seen[0]![2] as string, "hex"), 0)
    assert.strictEqual(frames.decodeFrame(parsed).fields!["queue"], "q")
  })
})

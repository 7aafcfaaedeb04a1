import { assert, describe, it } from "@effect/vitest"
import type { WireMessage } from "../../src/AmqpDriver.ts"
import { FrameWriter, MessageRefused } from "../../src/internal/wire/frameWriter.ts"
import { decodeFrames, definitions, message as amqplibMessage } from "../support/AmqplibCodec.ts"
import { makeRandom, propertiesForAmqplib } from "../support/RandomMessages.ts"

/** A writer, what its socket got, and the end of the turn. */
const make = (frameMax = 4096) => {
  const chunks: Array<Uint8Array> = []
  const socket = { corked: 0, isFull: false, writableLength: 0, writes: 0 }
  const turns: Array<() => void> = []
  const writer = new FrameWriter(
    {
      write(bytes) {
        chunks.push(bytes)
        if (socket.isFull) socket.writableLength += bytes.byteLength
        return !socket.isFull
      },
      cork() {
        socket.corked++
      },
      uncork() {
        socket.corked--
      },
      get writableLength() {
        return socket.writableLength
      }
    },
    { frameMax, schedule: (flush) => turns.push(flush), onWrite: () => socket.writes++ }
  )
  return {
    writer,
    chunks,
    socket,
    turns,
    endTurn() {
      for (const turn of turns.splice(0)) turn()
    },
    written: () => Buffer.concat(chunks)
  }
}

const small: WireMessage = {
  exchange: "",
  routingKey: "queue",
  mandatory: true,
  properties: { messageId: "1" },
  body: Buffer.from("hello")
}

const byAmqplib = (channel: number, message: WireMessage, frameMax: number): Buffer =>
  amqplibMessage(
    channel,
    definitions.BasicPublish,
    { exchange: message.exchange, routingKey: message.routingKey, mandatory: message.mandatory },
    propertiesForAmqplib(message.properties),
    Buffer.from(message.body),
    frameMax
  )

describe("A writer of frames", () => {
  it("writes the same bytes as amqplib, for 5,000 random messages on random channels", () => {
    for (const frameMax of [4096, 8192, 131072]) {
      const { endTurn, written, writer } = make(frameMax)
      const expected: Array<Buffer> = []
      for (let seed = 1; seed <= (frameMax === 131072 ? 200 : 2400); seed++) {
        const random = makeRandom(seed)
        const channel = 1 + random.below(65535)
        const message = random.message(frameMax)
        try {
          writer.publish(channel, message)
        } catch (error) {
          assert.instanceOf(error, MessageRefused)
          continue
        }
        expected.push(byAmqplib(channel, message, frameMax))
        if (random.chance(0.1)) endTurn()
      }
      endTurn()
      assert.isTrue(written().equals(Buffer.concat(expected)), `frames of ${frameMax}`)
      assert.isAbove(expected.length, 150)
    }
  })

  const ack = (channel: number, deliveryTag: number, multiple: boolean) =>
    definitions.encodeMethod(definitions.BasicAck, channel, { deliveryTag, multiple })

  it("keeps an acknowledgement that one of many behind it does not cover", () => {
    const { endTurn, writer, written } = make()
    writer.ack(1, 10, false)
    writer.ack(1, 5, true)
    writer.ack(1, 7, true)
    endTurn()
    assert.deepStrictEqual(written(), Buffer.concat([ack(1, 10, false), ack(1, 7, true)]))
  })

  it("keeps of acknowledgements of many in a row only the last, where nothing else stands between them", () => {
    const { endTurn, writer, written } = make()
    writer.ack(1, 1, true)
    writer.ack(1, 2, true)
    writer.ack(1, 4, false)
    writer.ack(2, 7, true)
    writer.ack(1, 5, true)
    writer.nack(1, 6, false, true)
    writer.ack(1, 8, true)
    endTurn()
    writer.ack(1, 9, true)
    endTurn()
    assert.deepStrictEqual(
      written(),
      Buffer.concat([
        ack(1, 2, true),
        ack(1, 4, false),
        ack(2, 7, true),
        ack(1, 5, true),
        definitions.encodeMethod(definitions.BasicNack, 1, { deliveryTag: 6, multiple: false, requeue: true }),
        ack(1, 8, true),
        ack(1, 9, true)
      ])
    )
  })

  it("writes acknowledgements with the same bytes as amqplib", () => {
    const { endTurn, written, writer } = make()
    const expected: Array<Buffer> = []
    for (const tag of [1, 255, 65536, 4294967295, 4294967296, Number.MAX_SAFE_INTEGER]) {
      for (const multiple of [true, false]) {
        for (const requeue of [true, false]) {
          writer.ack(7, tag, multiple)
          writer.nack(7, tag, multiple, requeue)
          writer.reject(7, tag, requeue)
          expected.push(
            definitions.encodeMethod(definitions.BasicAck, 7, { deliveryTag: tag, multiple }),
            definitions.encodeMethod(definitions.BasicNack, 7, { deliveryTag: tag, multiple, requeue }),
            definitions.encodeMethod(definitions.BasicReject, 7, { deliveryTag: tag, requeue })
          )
        }
      }
    }
    endTurn()
    assert.isTrue(written().equals(Buffer.concat(expected)))
  })

  it("hands what was asked for in one turn to the socket at once, in the order in which it was asked for", () => {
    const { chunks, endTurn, socket, turns, writer } = make()
    const declare = definitions.encodeMethod(definitions.BasicCancel, 1, { consumerTag: "c", nowait: false })
    writer.publish(1, small)
    writer.frames(declare)
    writer.ack(1, 3, false)
    writer.publish(2, small)
    assert.strictEqual(chunks.length, 0)
    assert.strictEqual(turns.length, 1)
    endTurn()
    assert.strictEqual(chunks.length, 1)
    assert.strictEqual(socket.writes, 1)
    const frames = decodeFrames(Buffer.from(chunks[0]!)).filter(({ id }) => id !== definitions.BasicProperties)
    assert.deepStrictEqual(frames.flatMap(({ id }) => id ?? []), [
      definitions.BasicPublish,
      definitions.BasicCancel,
      definitions.BasicAck,
      definitions.BasicPublish
    ])
    endTurn()
    assert.strictEqual(chunks.length, 1)
  })

  it("hands its buffer to the socket when it is full, and does not touch again what the socket has", () => {
    const { chunks, endTurn, written, writer } = make(131072)
    const expected: Array<Buffer> = []
    for (let count = 0; count < 1000; count++) {
      const message = { ...small, body: Buffer.alloc(300, count) }
      writer.publish(1, message)
      expected.push(byAmqplib(1, message, 131072))
    }
    const before = chunks.length
    const copies = chunks.map((chunk) => Buffer.from(chunk))
    assert.isAtLeast(before, 5)
    endTurn()
    for (let count = 0; count < 500; count++) {
      writer.publish(1, small)
      expected.push(byAmqplib(1, small, 131072))
    }
    endTurn()
    copies.forEach((copy, index) => assert.isTrue(copy.equals(chunks[index]!)))
    assert.isTrue(written().equals(Buffer.concat(expected)))
  })

  it("hands large bodies to the socket as they are, without a copy", () => {
    const { chunks, endTurn, socket, written, writer } = make(131072)
    const message = { ...small, body: Buffer.alloc(300_000, 1) }
    writer.publish(1, message)
    writer.publish(1, small)
    endTurn()
    const parts = chunks.filter((chunk) => chunk.buffer === message.body.buffer)
    assert.strictEqual(parts.reduce((sum, part) => sum + part.byteLength, 0), 300_000)
    assert.strictEqual(socket.corked, 0)
    assert.isTrue(written().equals(Buffer.concat([byAmqplib(1, message, 131072), byAmqplib(1, small, 131072)])))
  })

  it("leaves the socket at the end of a frame after each message, where a heartbeat may follow", () => {
    const { chunks, writer } = make(4096)
    for (let seed = 1; seed <= 300; seed++) {
      const random = makeRandom(seed)
      try {
        writer.publish(1, { ...random.message(4096), body: Buffer.alloc(random.below(30_000)) })
      } catch (error) {
        assert.instanceOf(error, MessageRefused)
      }
      decodeFrames(Buffer.concat(chunks.splice(0)))
    }
  })

  it.each([
    ["whose header cannot be written", { late: { n: NaN } }, "headers.late.n"],
    ["whose headers need more than a frame", { long: "a".repeat(4096) }, "headers"]
  ])("refuses a message %s by the field's name, and writes nothing of it", (_, headers, field) => {
    const { endTurn, written, writer } = make(4096)
    writer.publish(1, small)
    try {
      writer.publish(1, { ...small, properties: { headers } })
      assert.fail("it was written")
    } catch (error) {
      assert.instanceOf(error, MessageRefused)
      assert.strictEqual((error as MessageRefused).field, field)
    }
    writer.publish(1, small)
    endTurn()
    assert.isTrue(written().equals(Buffer.concat([byAmqplib(1, small, 4096), byAmqplib(1, small, 4096)])))
  })

  it("writes headers to the last byte of a frame, and says how many bytes there may be at most", () => {
    for (let spare = -1; spare <= 1; spare++) {
      const { endTurn, written, writer } = make(4096)
      // 8 of the frame, 12 of the header, 2 of flags, 2 of the id; 4 of the table, 2 of the key, 5 of the string.
      const message = {
        ...small,
        properties: { ...small.properties, headers: { k: "v".repeat(4096 - 8 - 12 - 2 - 2 - 4 - 2 - 5 - spare) } }
      }
      if (spare < 0) {
        assert.throws(() => writer.publish(1, message), /they need 4073 bytes, and may need at most 4072/)
      } else {
        writer.publish(1, message)
        endTurn()
        const header = decodeFrames(written())[1]!
        assert.deepStrictEqual(Object.keys(header.fields!["headers"] as object), ["k"])
        assert.isTrue(written().equals(byAmqplib(1, message, 4096)))
      }
    }
  })

  it("writes a received header table byte by byte", () => {
    const { endTurn, written, writer } = make()
    const rawHeaders = Buffer.from("\u0001nL\u0000\u0000\u0001\u0002\u0003\u0004\u0005\u0006", "latin1")
    writer.publish(1, { ...small, properties: { rawHeaders, headers: { n: 1 } } })
    endTurn()
    const bytes = written()
    assert.isTrue(bytes.includes(Buffer.concat([Buffer.from([0, 0, 0, rawHeaders.length]), rawHeaders])))
    assert.isFalse(bytes.includes("\u0001nb"))
  })

  it("is not writable from when the socket says so until it has passed on all that it got", () => {
    const { endTurn, socket, writer } = make()
    assert.isTrue(writer.isWritable)
    socket.isFull = true
    writer.publish(1, small)
    assert.isTrue(writer.isWritable)
    endTurn()
    assert.isFalse(writer.isWritable)
    // What it was too much for it passed on at once.
    socket.writableLength = 0
    assert.isTrue(writer.isWritable)
    socket.writableLength = 1
    assert.isFalse(writer.isWritable)
    writer.drained()
    assert.isTrue(writer.isWritable)
  })

  it("writes nothing any more when its socket has ended", () => {
    const { chunks, endTurn, socket, writer } = make(4096)
    writer.publish(1, small)
    writer.end()
    endTurn()
    writer.publish(1, { ...small, body: Buffer.alloc(100_000) })
    writer.ack(1, 1, true)
    endTurn()
    assert.strictEqual(chunks.length, 0)
    assert.strictEqual(socket.corked, 0)
  })

  it("uses a buffer again when what was in it has left, and not before", () => {
    const { below, oneOf } = makeRandom(11)
    const underway: Array<{ readonly bytes: Uint8Array; readonly copy: Buffer; readonly onWritten: () => void }> = []
    const left: Array<Buffer> = []
    const buffers = new Set<ArrayBufferLike>()
    const turns: Array<() => void> = []
    const expected: Array<Buffer> = []
    const writer = new FrameWriter(
      {
        write(bytes, onWritten) {
          if (bytes.byteLength > 1) buffers.add(bytes.buffer)
          underway.push({ bytes, copy: Buffer.from(bytes), onWritten: () => onWritten() })
          return true
        },
        cork() {},
        uncork() {},
        writableLength: 0
      },
      { frameMax: 4096, schedule: (flush) => turns.push(flush), onWrite() {} }
    )
    const leave = (count: number) => {
      for (const { bytes, copy, onWritten } of underway.splice(0, count)) {
        assert.isTrue(copy.equals(bytes))
        left.push(copy)
        onWritten()
      }
    }
    const bodies = [10, 1000, 3000].map((size) => Buffer.alloc(size, `${size} `))
    for (let step = 0; step < 5000; step++) {
      const message = { ...small, body: oneOf(bodies) }
      writer.publish(1, message)
      expected.push(byAmqplib(1, message, 4096))
      if (below(4) === 0) { for (const turn of turns.splice(0)) turn() }
      if (below(6) === 0) leave(below(underway.length + 1))
    }
    for (const turn of turns.splice(0)) turn()
    leave(underway.length)
    assert.isTrue(Buffer.concat(left).equals(Buffer.concat(expected)))
    // 7 MB went through them.
    assert.isAtMost(buffers.size, 12)
  })

  it("uses no buffer again of which something did not leave", () => {
    const buffers: Array<ArrayBufferLike> = []
    const turns: Array<() => void> = []
    const writer = new FrameWriter(
      {
        write(bytes, onWritten) {
          buffers.push(bytes.buffer)
          onWritten(new Error("it is closed"))
          return true
        },
        cork() {},
        uncork() {},
        writableLength: 0
      },
      { frameMax: 4096, schedule: (flush) => turns.push(flush), onWrite() {} }
    )
    for (let step = 0; step < 1000; step++) {
      writer.publish(1, { ...small, body: Buffer.alloc(1000) })
      for (const turn of turns.splice(0)) turn()
    }
    assert.isAtLeast(new Set(buffers).size, 15)
  })
})

import { assert, describe, it } from "@effect/vitest"
import type { DriverChannel } from "../../src/AmqpDriver.ts"
import { Acknowledgements } from "../../src/internal/delivery/acknowledgements.ts"
import { FrameWriter } from "../../src/internal/wire/frameWriter.ts"
import { decodeFrames, definitions } from "../support/AmqplibCodec.ts"
import { makeRandom } from "../support/RandomMessages.ts"

/** What a broker understands: the tags that each frame settles of those that are out. */
const settledBy = (bytes: Buffer, delivered: number) => {
  const out = new Set(Array.from({ length: delivered }, (_, at) => at + 1))
  const acked: Array<number> = []
  const nacked: Array<number> = []
  for (const { fields, id } of decodeFrames(bytes)) {
    const { deliveryTag, multiple } = fields as { readonly deliveryTag: number; readonly multiple: boolean }
    const tags = Array.from(out).filter((tag) => multiple ? tag <= deliveryTag : tag === deliveryTag)
    assert.isAbove(tags.length, 0, `a frame for ${deliveryTag} settles nothing`)
    for (const tag of tags) out.delete(tag)
    ;(id === definitions.BasicAck ? acked : nacked).push(...tags)
  }
  return { acked, nacked }
}

describe("Acknowledgements on their way to the broker", () => {
  it("settle there what was settled here and nothing else, in any order and in whatever turns they leave", () => {
    for (let seed = 1; seed <= 2000; seed++) {
      const random = makeRandom(seed)
      const chunks: Array<Uint8Array> = []
      const turns: Array<() => void> = []
      const writer = new FrameWriter(
        { write: (bytes) => chunks.push(bytes) > 0, cork() {}, uncork() {}, writableLength: 0 },
        { frameMax: 4096, schedule: (flush) => turns.push(flush), onWrite() {} }
      )
      const channel = {
        isOpen: () => true,
        ackUnsafe: (tag: number, multiple: boolean) => (writer.ack(1, tag, multiple), true),
        nackUnsafe: (tag: number, multiple: boolean, requeue: boolean) => (writer.nack(1, tag, multiple, requeue), true)
      } as Partial<DriverChannel> as DriverChannel
      const origin = { address: { host: "localhost", port: 5672 }, connectionName: "test" }
      const acknowledgements = new Acknowledgements(channel, origin, () => {}, { prefetch: 100 })
      const acked: Array<number> = []
      const nacked: Array<number> = []
      const open: Array<number> = []
      let delivered = 0
      for (let step = 0; step < 60; step++) {
        if (random.chance(0.4)) {
          for (let more = 1 + random.below(5); more > 0; more--) {
            acknowledgements.delivered(++delivered)
            open.push(delivered)
          }
        }
        if (open.length > 0 && random.chance(0.7)) {
          // Mostly the oldest, as handlers end.
          const tag = open.splice(random.chance(0.6) ? 0 : random.below(open.length), 1)[0]!
          if (random.chance(0.1)) {
            acknowledgements.nack(tag, false, true)
            nacked.push(tag)
          } else {
            if (random.chance(0.5)) acknowledgements.ack(tag, false)
            else acknowledgements.ackSoon(tag)
            acked.push(tag)
          }
        }
        if (random.chance(0.2)) acknowledgements.flush()
        if (random.chance(0.3)) { for (const turn of turns.splice(0)) turn() }
      }
      acknowledgements.flush()
      for (const turn of turns.splice(0)) turn()
      const settled = settledBy(Buffer.concat(chunks), delivered)
      assert.sameMembers(settled.acked, acked, `seed ${seed}`)
      assert.sameMembers(settled.nacked, nacked, `seed ${seed}`)
    }
  })
})

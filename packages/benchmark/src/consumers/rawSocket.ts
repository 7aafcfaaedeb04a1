import * as Frames from "../wire/Frames.ts"
import * as RawChannel from "../wire/RawChannel.ts"
import type { Contender } from "./Consumer.ts"

const consumerTag = "floor"

/** The floor: a socket, bodies that are passed over, and one acknowledgement of all that came in one read. */
export const contender: Contender = {
  async open(load) {
    const channel = await RawChannel.open(load.url)
    const tag = Frames.shortString(consumerTag)
    const consume = Frames.method(
      RawChannel.number,
      60,
      20,
      Frames.integer(0, 2),
      Frames.shortString(load.queue),
      tag,
      Frames.integer(0, 1),
      Frames.table({})
    )
    const cancel = Frames.method(RawChannel.number, 60, 30, tag, Frames.integer(0, 1))
    let onCancelled = () => {}
    let onEnough = () => {}
    let left = 0
    let lastTag = 0
    let acknowledgedTo = 0
    await new Promise<void>((resolve) => {
      channel.listen({
        onMethod(id, bytes, at) {
          if (id === 60_060) {
            const tagAt = at + 1 + consumerTag.length
            lastTag = bytes.readUInt32BE(tagAt) * 2 ** 32 + bytes.readUInt32BE(tagAt + 4)
          } else if (id === 60_011) resolve()
          else if (id === 60_031) onCancelled()
        },
        onRead() {
          if (lastTag === acknowledgedTo) return
          const isEnough = left > 0 && (left -= lastTag - acknowledgedTo) <= 0
          acknowledgedTo = lastTag
          channel.write(Frames.ack(RawChannel.number, lastTag, true))
          if (isEnough) onEnough()
        }
      })
      channel.write(
        Frames.method(
          RawChannel.number,
          60,
          10,
          Frames.integer(0, 4),
          Frames.integer(load.prefetch, 2),
          Frames.integer(0, 1)
        )
      )
    })
    const stop = () =>
      new Promise<void>((resolve) => {
        onCancelled = resolve
        channel.write(cancel)
      })
    return {
      consume: (count) =>
        new Promise((resolve) => {
          left = count
          onEnough = () => resolve(stop)
          channel.write(consume)
        }),
      close: channel.close
    }
  }
}

import * as Frames from "../wire/Frames.ts"
import * as RawChannel from "../wire/RawChannel.ts"
import { Settled } from "../wire/Settled.ts"
import type { Contender, Timeline } from "./Publisher.ts"
import { bodyOf } from "./Publisher.ts"

interface Window {
  readonly count: number
  readonly timeline: Timeline | undefined
  written: number
  confirmed: number
  readonly done: () => void
  readonly failed: (error: Error) => void
}

/** The floor: a socket, frames that were made beforehand, and as little reading of confirms as can be. */
export const contender: Contender = {
  async open(load) {
    const channel = await RawChannel.open(load.url)
    const message = Frames.publish(RawChannel.number, load.queue, bodyOf(load), channel.frameMax)
    const many = Buffer.concat(Array.from({ length: load.inFlight }, () => message))
    const settled = new Settled()
    let window: Window | undefined
    let newlyConfirmed = 0

    const write = (window: Window, count: number) => {
      for (let index = 0; index < count; index++) window.timeline?.written(window.written + index)
      window.written += count
      channel.write(count === 1 ? message : many.subarray(0, count * message.byteLength))
    }
    const confirmed = (window: Window, count: number) => {
      for (let index = 0; index < count; index++) window.timeline?.confirmed(window.confirmed + index)
      window.confirmed += count
      if (window.confirmed === window.count) return window.done()
      const more = Math.min(count, window.count - window.written)
      if (more > 0) write(window, more)
    }

    await new Promise<void>((resolve) => {
      channel.listen({
        onMethod(id, bytes, at) {
          if (id === 85_011) resolve()
          else if (id === 60_120) window?.failed(new Error("the broker refused a message"))
          else if (id === 60_080) {
            newlyConfirmed += settled.settle(
              bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4),
              bytes[at + 8] === 1
            )
          }
        },
        onRead() {
          if (newlyConfirmed === 0 || window === undefined) return
          const count = newlyConfirmed
          newlyConfirmed = 0
          confirmed(window, count)
        }
      })
      channel.write(Frames.method(RawChannel.number, 85, 10, Frames.integer(0, 1)))
    })
    return {
      publish: (count, timeline) =>
        new Promise((done, failed) => {
          window = { count, timeline, written: 0, confirmed: 0, done, failed }
          write(window, Math.min(count, load.inFlight))
        }),
      close: channel.close
    }
  }
}

import { connect } from "node:net"
import * as Frames from "../wire/Frames.ts"
import type { Contender, Publisher, Timeline } from "./Publisher.ts"
import { bodyOf } from "./Publisher.ts"

/** The floor: a socket, frames that were made beforehand, and the least reading of confirms. */
export const contender: Contender = {
  open: (load) =>
    new Promise((resolve, reject) => {
      const url = new URL(load.url)
      const socket = connect({ host: url.hostname, port: Number(url.port || 5672), noDelay: true })
      socket.on("error", reject)
      socket.on("connect", () => socket.write(Frames.protocolHeader))

      let message: Buffer = Buffer.alloc(0)
      let many: Buffer = Buffer.alloc(0)
      let window: Window | undefined
      let onClosed = () => {}
      /** Tags from 1, on this channel, up to which all are confirmed, and those confirmed out of order. */
      let settledTo = 0
      const settledAlone = new Set<number>()
      const settle = (tag: number, multiple: boolean): number => {
        if (!multiple && tag !== settledTo + 1) {
          settledAlone.add(tag)
          return 1
        }
        let settled = 0
        while (settledTo < tag) {
          settledTo++
          if (settledAlone.size === 0 || !settledAlone.delete(settledTo)) settled++
        }
        while (settledAlone.size > 0 && settledAlone.delete(settledTo + 1)) settledTo++
        return settled
      }

      const publisher: Publisher = {
        publish: (count, timeline) =>
          new Promise((done) => {
            window = { count, timeline, written: 0, confirmed: 0, done }
            write(window, Math.min(count, load.inFlight))
          }),
        close: () =>
          new Promise((closed) => {
            onClosed = closed
            socket.end(
              Frames.method(0, 10, 50, Frames.integer(200, 2), Frames.shortString("bye"), Frames.integer(0, 4))
            )
          })
      }
      const write = (window: Window, count: number) => {
        for (let index = 0; index < count; index++) window.timeline?.written(window.written + index)
        window.written += count
        socket.write(count === 1 ? message : many.subarray(0, count * message.byteLength))
      }
      const confirmed = (window: Window, count: number) => {
        for (let index = 0; index < count; index++) window.timeline?.confirmed(window.confirmed + index)
        window.confirmed += count
        if (window.confirmed === window.count) return window.done()
        const more = Math.min(count, window.count - window.written)
        if (more > 0) write(window, more)
      }

      let newlyConfirmed = 0
      const reader = new Frames.FrameReader({
        onMethod(_, classId, methodId, bytes, at) {
          switch (classId * 1000 + methodId) {
            case 60_080:
              newlyConfirmed += settle(
                bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4),
                bytes[at + 8] === 1
              )
              return
            case 60_120:
            case 20_040:
            case 10_050:
              socket.destroy()
              return reject(new Error(`the broker refused: ${classId}, ${methodId}`))
            case 10_010: {
              const user = decodeURIComponent(url.username) || "guest"
              const password = decodeURIComponent(url.password) || "guest"
              return socket.write(Frames.method(
                0,
                10,
                11,
                Frames.table({ product: "floor" }),
                Frames.shortString("PLAIN"),
                Frames.longString(`\0${user}\0${password}`),
                Frames.shortString("en_US")
              ))
            }
            case 10_030: {
              const frameMax = bytes.readUInt32BE(at + 2)
              message = Frames.publish(1, load.queue, bodyOf(load), frameMax)
              many = Buffer.concat(Array.from({ length: load.inFlight }, () => message))
              const vhost = decodeURIComponent(url.pathname.slice(1)) || "/"
              return socket.write(Buffer.concat([
                // No heartbeats: they would be the only frames that were not made beforehand.
                Frames.method(0, 10, 31, Frames.integer(2047, 2), Frames.integer(frameMax, 4), Frames.integer(0, 2)),
                Frames.method(0, 10, 40, Frames.shortString(vhost), Frames.shortString(""), Frames.integer(0, 1))
              ]))
            }
            case 10_041:
              return socket.write(Frames.method(1, 20, 10, Frames.shortString("")))
            case 20_011:
              return socket.write(Frames.method(1, 85, 10, Frames.integer(0, 1)))
            case 85_011:
              return resolve(publisher)
          }
        },
        onHeader() {},
        onBody() {}
      })
      socket.on("data", (chunk) => {
        reader.read(chunk)
        if (newlyConfirmed === 0 || window === undefined) return
        const count = newlyConfirmed
        newlyConfirmed = 0
        confirmed(window, count)
      })
      socket.on("close", () => onClosed())
    })
}

interface Window {
  readonly count: number
  readonly timeline: Timeline | undefined
  written: number
  confirmed: number
  readonly done: () => void
}

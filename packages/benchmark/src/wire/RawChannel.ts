import { connect } from "node:net"
import * as Frames from "./Frames.ts"

/** Told of what comes on the channel. */
export interface Listener {
  /** The class and the method as one number: 60 and 80 are 60080. */
  readonly onMethod: (id: number, bytes: Buffer, at: number) => void
  /** All that came in one read has been told. */
  readonly onRead: () => void
}

/** A channel on a connection of its own, as a socket and no more. */
export interface RawChannel {
  readonly frameMax: number
  readonly write: (bytes: Uint8Array) => void
  readonly listen: (listener: Listener) => void
  readonly close: () => Promise<void>
}

/** The number of the channel. */
export const number = 1

const deaf: Listener = { onMethod() {}, onRead() {} }

/** Connects and opens the channel; fails when the broker refuses anything. */
export const open = (text: string): Promise<RawChannel> =>
  new Promise((resolve, reject) => {
    const url = new URL(text)
    const socket = connect({ host: url.hostname, port: Number(url.port || 5672), noDelay: true })
    socket.on("error", reject)
    socket.on("connect", () => socket.write(Frames.protocolHeader))
    let listener = deaf
    let frameMax = 0
    let onClosed = () => {}
    const reader = new Frames.FrameReader({
      onMethod(_, classId, methodId, bytes, at) {
        const id = classId * 1000 + methodId
        switch (id) {
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
            frameMax = bytes.readUInt32BE(at + 2)
            const vhost = decodeURIComponent(url.pathname.slice(1)) || "/"
            return socket.write(Buffer.concat([
              // No heartbeats: they would be the only frames that were not made beforehand.
              Frames.method(0, 10, 31, Frames.integer(2047, 2), Frames.integer(frameMax, 4), Frames.integer(0, 2)),
              Frames.method(0, 10, 40, Frames.shortString(vhost), Frames.shortString(""), Frames.integer(0, 1))
            ]))
          }
          case 10_041:
            return socket.write(Frames.method(number, 20, 10, Frames.shortString("")))
          case 20_011:
            return resolve({
              frameMax,
              write: (bytes) => void socket.write(bytes),
              listen(next) {
                listener = next
              },
              close: () =>
                new Promise((closed) => {
                  onClosed = closed
                  socket.end(
                    Frames.method(0, 10, 50, Frames.integer(200, 2), Frames.shortString("bye"), Frames.integer(0, 4))
                  )
                })
            })
          default:
            return listener.onMethod(id, bytes, at)
        }
      },
      onHeader() {},
      onBody() {}
    })
    socket.on("data", (chunk) => {
      reader.read(chunk)
      listener.onRead()
    })
    socket.on("close", () => onClosed())
  })

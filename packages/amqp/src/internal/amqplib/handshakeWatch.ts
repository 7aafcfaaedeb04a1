/**
 * Watches the bytes of one handshake while amqplib reads them, for two things that it does not offer:
 *
 * - the reply code and text with which a broker refuses `connection.open` (amqplib drops both), and
 * - a pause between `connection.open-ok` and whatever follows, so that listeners exist before the next frame is read,
 *   and before a write that has failed is told.
 */
import type { Socket } from "node:net"
import { frameOverhead } from "../wire/frame.ts"

/** What was seen of the peer until the handshake ended. */
export interface HandshakeSeen {
  /** What the peer's first bytes look like, if not like an AMQP frame. */
  readonly firstBytes: "tls" | "http" | "amqp" | undefined
  /** True once the broker has taken the credentials, so that only `connection.open` is to be answered. */
  readonly opening: boolean
  readonly close: { readonly replyCode: number; readonly replyText: string } | undefined
}

/** A running watch of one socket. */
export interface HandshakeWatch {
  readonly seen: () => HandshakeSeen
  /** Lets amqplib read on: its listeners are attached. */
  readonly release: () => void
}

const methodFrame = 1
const maxHandshakeFrame = 128 * 1024
const connectionTune = 0x000a001e
const connectionOpenOk = 0x000a0029
const connectionClose = 0x000a0032

const classify = (bytes: Buffer): HandshakeSeen["firstBytes"] => {
  if (bytes[0] === 0x15 && bytes[1] === 0x03) return "tls"
  const text = bytes.toString("latin1", 0, 4)
  return text === "HTTP" ? "http" : text === "AMQP" ? "amqp" : undefined
}

/** Starts to watch a socket that has not been read yet. `onForeign` is called when the peer cannot be a broker. */
export const watch = (socket: Socket, onForeign: () => void): HandshakeWatch => {
  let firstBytes: HandshakeSeen["firstBytes"]
  let opening = false
  let close: HandshakeSeen["close"]
  let state: "watching" | "held" | "done" = "watching"
  let pending: Buffer = Buffer.alloc(0)
  let any = false
  let failure: { readonly error: unknown } | undefined
  const emit = socket.emit.bind(socket)
  const read = socket.read.bind(socket)

  const scan = (chunk: Buffer): Buffer => {
    const before = pending.length
    pending = before === 0 ? chunk : Buffer.concat([pending, chunk])
    if (!any) {
      any = true
      firstBytes = classify(pending)
      if (firstBytes !== undefined) {
        state = "done"
        onForeign()
        return chunk
      }
    }
    let offset = 0
    while (pending.length - offset >= 7) {
      const size = pending.readUInt32BE(offset + 3)
      const end = offset + size + frameOverhead
      if (pending.length < end) break
      const method = pending[offset] === methodFrame && size >= 4 ? pending.readUInt32BE(offset + 7) : 0
      if (method === connectionTune) opening = true
      if (method === connectionClose && size >= 7) {
        const length = Math.min(pending[offset + 13]!, size - 7)
        close = {
          replyCode: pending.readUInt16BE(offset + 11),
          replyText: pending.toString("utf8", offset + 14, offset + 14 + length)
        }
      }
      if (method === connectionOpenOk) {
        state = "held"
        socket.emit = (event: string, ...args: ReadonlyArray<unknown>) => {
          if (event !== "error") return emit(event, ...args)
          failure = { error: args[0] }
          return true
        }
        const own = end - before
        if (own < chunk.length) socket.unshift(chunk.subarray(own))
        pending = Buffer.alloc(0)
        return chunk.subarray(0, own)
      }
      offset = end
    }
    pending = pending.subarray(offset)
    // No handshake is that long: a peer that sends more is not a broker, and amqplib will say so.
    if (pending.length > maxHandshakeFrame) state = "done"
    return chunk
  }

  socket.read = (size?: number) => {
    if (state === "held") return null
    const chunk = read(size) as Buffer | null
    return chunk === null || state !== "watching" ? chunk : scan(chunk)
  }

  return {
    seen: () => ({ firstBytes, opening, close }),
    release() {
      if (state === "held") {
        state = "done"
        delete (socket as Partial<Socket>).read
        delete (socket as Partial<Socket>).emit
        if (failure !== undefined) socket.emit("error", failure.error as Error)
        if (socket.readableLength > 0) socket.emit("readable")
      }
    }
  }
}

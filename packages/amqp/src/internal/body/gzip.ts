/**
 * Bodies with `content-encoding: gzip`.
 */
import * as Effect from "effect/Effect"
import * as Zlib from "node:zlib"
import { Unreadable } from "./json.ts"

// Four times what RabbitMQ takes as a message: a small body must not become one that fills the memory.
const maxBytes = 64 * 1024 * 1024

/** Compresses in another thread. */
export const compress = (body: string | Uint8Array): Effect.Effect<Uint8Array> =>
  Effect.callback((resume) => {
    Zlib.gzip(body, (error, compressed) => resume(error === null ? Effect.succeed(compressed) : Effect.die(error)))
  })

/** Decompresses in another thread. */
export const decompress = (body: Uint8Array): Effect.Effect<Uint8Array, Unreadable> =>
  Effect.callback((resume) => {
    Zlib.gunzip(body, { maxOutputLength: maxBytes }, (error, bytes) =>
      resume(
        error === null
          ? Effect.succeed(bytes)
          : Effect.fail(
            new Unreadable(
              (error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE"
                ? `its content-encoding is gzip, and it is larger than ${maxBytes} bytes when decompressed`
                : `its content-encoding is gzip, and it cannot be decompressed (${error.message})`
            )
          )
      ))
  })

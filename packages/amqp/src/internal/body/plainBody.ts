/**
 * What the properties of a message say of the bytes of its body: compression and charset.
 */
import * as Effect from "effect/Effect"
import type { WireProperties } from "../../AmqpDriver.ts"
import * as Gzip from "./gzip.ts"
import { Unreadable } from "./json.ts"

const charset = /;\s*charset\s*=\s*"?([^\s;"]+)/i
const utf8Names: ReadonlySet<string> = new Set(["utf-8", "utf8", "us-ascii", "ascii"])

/** The body as its codec reads it, at once where nothing is compressed; fails with a sentence. */
export const plainBody = (
  properties: WireProperties,
  body: Uint8Array
): Uint8Array | Effect.Effect<Uint8Array, Unreadable> => {
  const { contentEncoding, contentType } = properties
  const name = contentType === undefined ? undefined : charset.exec(contentType)?.[1]
  if (name !== undefined && !utf8Names.has(name.toLowerCase())) {
    return Effect.fail(new Unreadable(`its charset is "${name}", and only UTF-8 is read`))
  }
  switch (contentEncoding?.toLowerCase()) {
    case undefined:
    case "":
    case "identity":
    case "utf-8": // clients of Python write the charset there
      return body
    case "gzip":
      return Gzip.decompress(body)
    default:
      return Effect.fail(new Unreadable(`its content-encoding is "${contentEncoding}", and only gzip is read`))
  }
}

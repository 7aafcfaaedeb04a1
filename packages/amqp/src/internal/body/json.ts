/**
 * Reads JSON bodies by a schema. It stands by itself because `delivery.json` needs no other codec loaded.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { onceForEach } from "./onceForEach.ts"

/** A body that is not what its codec reads, with the reason as a sentence. */
export class Unreadable {
  readonly _tag = "Unreadable"
  readonly message: string
  constructor(message: string) {
    this.message = message
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true })

/** Reads UTF-8 text. */
export const text = (body: Uint8Array): Effect.Effect<string, Unreadable> => {
  try {
    return Effect.succeed(utf8.decode(body))
  } catch {
    return Effect.fail(new Unreadable("it is not UTF-8 text"))
  }
}

/** Decodes the JSON bodies of a schema. */
export const decoder = onceForEach((schema) => {
  const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Schema.toCodecJson(schema)))
  return (body: Uint8Array) => Effect.flatMap(text(body), (json) => decode(json))
})

import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Duration, Effect, Equal, Option, Redacted, Result, Schema } from "effect"
import { Codec } from "effect-amqp"
import { inspect } from "node:util"

const Inner = Schema.Struct({ street: Schema.NonEmptyString, codes: Schema.Array(Schema.Int) })

/** Schemas that round-trip by themselves, which plain `JSON.stringify` does not write so that they can be read. */
const schemas = {
  Date: Schema.Struct({ v: Schema.Date }),
  Option: Schema.Struct({ v: Schema.Option(Schema.Finite) }),
  BigInt: Schema.Struct({ v: Schema.BigInt }),
  Duration: Schema.Struct({ v: Schema.Duration }),
  ReadonlyMap: Schema.Struct({ v: Schema.ReadonlyMap(Schema.String, Schema.Finite) }),
  ReadonlySet: Schema.Struct({ v: Schema.ReadonlySet(Schema.Finite) }),
  Uint8Array: Schema.Struct({ v: Schema.Uint8Array }),
  FiniteFromString: Schema.Struct({ v: Schema.FiniteFromString }),
  encodeKeys: Schema.Struct({ v: Schema.Finite }).pipe(Schema.encodeKeys({ v: "w" })),
  Number: Schema.Struct({ v: Schema.Number }),
  String: Schema.String,
  Null: Schema.Null,
  Union: Schema.Union([Schema.String, Schema.Finite, Inner]),
  optionalKey: Schema.Struct({ a: Schema.optionalKey(Schema.String), to: Schema.Array(Inner) })
} satisfies Record<string, Schema.Constraint>

const codecs = {
  json: Codec.json,
  schemaBinary: Codec.schemaBinary,
  cloudEvents: Codec.cloudEvents({ source: "/test" })
}

const bytesOf = (body: string | Uint8Array) => typeof body === "string" ? new TextEncoder().encode(body) : body

const roundTrip = (codec: Codec.Codec, schema: Schema.Constraint, value: unknown) =>
  codec.encoder(schema)(value, { type: "test", messageId: "m1" }).pipe(
    Effect.flatMap((body) => codec.decoder(schema)(bytesOf(body)))
  ) as Effect.Effect<unknown, unknown>

const isEqual = (a: unknown, b: unknown) => {
  if (Equal.equals(a, b)) return true
  try {
    assert.deepStrictEqual(a, b)
    return true
  } catch {
    return false
  }
}

describe("Codec", () => {
  for (const [name, codec] of Object.entries(codecs)) {
    for (const [about, schema] of Object.entries(schemas)) {
      it.effect.prop(
        `${name} reads every ${about} that it wrote`,
        [Arbitrary.schema(schema as Schema.Codec<unknown, unknown>)],
        ([value]) =>
          Effect.gen(function*() {
            const written = yield* Effect.result(roundTrip(codec, schema, value))
            // Half of a surrogate pair is no text in UTF-8: refused, never changed.
            if (Result.isFailure(written)) {
              return assert.match((written.failure as Error).message, /half of a surrogate pair/)
            }
            assert.isTrue(
              isEqual(written.success, value),
              `it wrote ${inspect(value)}, and read ${inspect(written.success)}`
            )
          }),
        { arbitrary: { runs: 50 } }
      )
    }
  }

  it.effect("json writes secrets, and reads them", () =>
    Effect.gen(function*() {
      const schema = Schema.Struct({ v: Schema.RedactedFromValue(Schema.String) })
      const body = yield* Codec.json.encoder(schema)({ v: Redacted.make("secret") }, { type: "", messageId: "" })
      assert.strictEqual(body, `{"v":"secret"}`)
    }))

  it.effect("bytes sends the encoded bytes as they are", () =>
    Effect.gen(function*() {
      const value = new Uint8Array([0, 1, 255])
      assert.deepStrictEqual(yield* roundTrip(Codec.bytes, Schema.Uint8Array, value), value)
      const { contentType } = yield* Codec.encode(Codec.bytes, Schema.Uint8Array, value)
      assert.strictEqual(contentType, "application/octet-stream")
    }))

  it.effect("bytes refuses a schema whose encoded form is no Uint8Array", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Codec.encode(Codec.bytes, Schema.String, "a"))
      assert.strictEqual(error.reason._tag, "EncodeError")
      assert.match(error.message, /no Uint8Array.*use json/)
    }))

  it.effect("the bytes of schemaBinary stay as they are while others are encoded", () =>
    Effect.gen(function*() {
      const schema = Schema.Struct({ v: Schema.String })
      const first = yield* Codec.schemaBinary.encoder(schema)({ v: "first" }, { type: "", messageId: "" })
      for (let i = 0; i < 100; i++) {
        yield* Codec.schemaBinary.encoder(schema)({ v: `other ${i}` }, { type: "", messageId: "" })
      }
      assert.deepStrictEqual(yield* Codec.schemaBinary.decoder(schema)(first as Uint8Array), { v: "first" })
    }))

  it.effect("an encoder and a decoder are made once for a schema", () =>
    Effect.sync(() => {
      const schema = Schema.Struct({ v: Schema.Duration })
      assert.strictEqual(Codec.json.encoder(schema), Codec.json.encoder(schema))
      assert.strictEqual(Codec.json.decoder(schema), Codec.json.decoder(schema))
      assert.isTrue(Option.isSome(Duration.fromInput("1 second")))
    }))
})

/**
 * Codecs: how a value of a schema becomes the body of a message, and how a body is read again.
 *
 * A codec stands at both ends of a message. `AmqpContract` has one for each contract; {@link encode} and
 * `delivery.decode` use one without a contract. Nothing of Effect is visible on the wire: {@link json} is plain JSON by
 * `Schema.toCodecJson`, and any language can read it.
 *
 * @since 0.2.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as SchemaBinary from "effect/encoding/SchemaBinary"
import * as Schema from "effect/Schema"
import * as Gzip from "./internal/body/gzip.ts"
import * as JsonBody from "./internal/body/json.ts"
import { onceForEach } from "./internal/body/onceForEach.ts"
import { EncodeError, PublishError } from "./PublishError.ts"

/**
 * What a codec may write beside the value: the identity of the message that carries it.
 *
 * @category models
 * @since 0.2.0
 */
export interface Envelope {
  /** The property `type` of the message; the name of the contract if it has one. */
  readonly type: string
  /** The property `messageId` of the message. */
  readonly messageId: string
}

/**
 * Encodes the values of a schema; the result is the body.
 *
 * @category models
 * @since 0.2.0
 */
export type Encoder<S extends Schema.Constraint> = (
  value: S["Type"],
  envelope: Envelope
) => Effect.Effect<string | Uint8Array, Schema.SchemaError | Unreadable, S["EncodingServices"]>

/**
 * Decodes bodies to the values of a schema. The body was decompressed before.
 *
 * @category models
 * @since 0.2.0
 */
export type Decoder<S extends Schema.Constraint> = (
  body: Uint8Array
) => Effect.Effect<S["Type"], Schema.SchemaError | Unreadable, S["DecodingServices"]>

/**
 * A codec: its name, its content type, and what makes encoders and decoders of schemas. One encoder and one decoder are
 * made for each schema and kept.
 *
 * @category models
 * @since 0.2.0
 */
export interface Codec {
  readonly name: string
  /** The content type that is written. It is not asked for when a body is read. */
  readonly contentType: string
  /** Bodies of at least this many bytes are compressed; `undefined` compresses none. See {@link gzip}. */
  readonly gzipAbove: number | undefined
  /** Says that the codec writes the identity of the message into the body, so that the message needs an id before it. */
  readonly needsMessageId: boolean
  readonly encoder: <S extends Schema.Constraint>(schema: S) => Encoder<S>
  readonly decoder: <S extends Schema.Constraint>(schema: S) => Decoder<S>
}

/**
 * A body that is not what its codec reads, with the reason as a sentence.
 *
 * @category errors
 * @since 0.2.0
 */
export const Unreadable = JsonBody.Unreadable

/**
 * A body that is not what its codec reads.
 *
 * @category errors
 * @since 0.2.0
 */
export type Unreadable = JsonBody.Unreadable

/**
 * Makes a codec, for a wire form that is not among those of this module. What `encoder` and `decoder` make of a schema
 * is kept for as long as the schema lives.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (options: {
  readonly name: string
  readonly contentType: string
  /** See {@link Codec}. Defaults to `false`. */
  readonly needsMessageId?: boolean | undefined
  readonly encoder: (schema: Schema.Constraint) => Encoder<Schema.Constraint>
  readonly decoder: (schema: Schema.Constraint) => Decoder<Schema.Constraint>
}): Codec => ({
  name: options.name,
  contentType: options.contentType,
  gzipAbove: undefined,
  needsMessageId: options.needsMessageId ?? false,
  // What was made of a schema fits that schema.
  encoder: onceForEach(options.encoder) as Codec["encoder"],
  decoder: onceForEach(options.decoder) as Codec["decoder"]
})

/**
 * Writes JSON by `Schema.toCodecJson`, and reads it: the default codec.
 *
 * `Schema.optional` writes `undefined` as JSON `null`; prefer `Schema.optionalKey`, which leaves the key out.
 *
 * @category codecs
 * @since 0.2.0
 */
export const json: Codec = make({
  name: "json",
  contentType: "application/json",
  encoder: (schema) => {
    const encode = Schema.encodeUnknownEffect(Schema.fromJsonString(Schema.toCodecJson(schema)))
    return (value) => encode(value)
  },
  decoder: JsonBody.decoder
})

const replacement = Buffer.from("\ufffd")

const holdsLoneSurrogate = (value: unknown): boolean => {
  if (typeof value === "string") return /\p{Surrogate}/u.test(value)
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return false
  const parts = Symbol.iterator in value ? Array.from(value as Iterable<unknown>) : Object.entries(value)
  return parts.some(holdsLoneSurrogate)
}

/**
 * Writes the compact binary form of `effect/encoding/SchemaBinary`, which only Effect programs read.
 *
 * @category codecs
 * @since 0.2.0
 */
export const schemaBinary: Codec = make({
  name: "schemaBinary",
  contentType: "application/vnd.effect.schema-binary",
  encoder: (schema) => {
    const encode = Schema.encodeEffect(SchemaBinary.toCodec(schema))
    return (value) =>
      Effect.flatMap(encode(value), (view) =>
        // UTF-8 has no half of a surrogate pair, and would carry U+FFFD in its place.
        Buffer.from(view.buffer, view.byteOffset, view.byteLength).includes(replacement) && holdsLoneSurrogate(value)
          ? Effect.fail(new Unreadable("it has a string with half of a surrogate pair, which UTF-8 cannot carry"))
          // The bytes are a view of a shared buffer, and a message may be published again long after.
          : Effect.succeed(view.slice()))
  },
  decoder: (schema) => Schema.decodeUnknownEffect(SchemaBinary.toCodec(schema))
})

/**
 * Sends bytes as they are, for schemas whose encoded form is a `Uint8Array`.
 *
 * @category codecs
 * @since 0.2.0
 */
export const bytes: Codec = make({
  name: "bytes",
  contentType: "application/octet-stream",
  encoder: (schema) => {
    const encode = Schema.encodeUnknownEffect(schema)
    return (value) =>
      Effect.flatMap(encode(value), (encoded) =>
        encoded instanceof Uint8Array
          ? Effect.succeed(encoded)
          : Effect.fail(new Unreadable("its encoded form is no Uint8Array, which the codec bytes needs; use json")))
  },
  decoder: (schema) => Schema.decodeUnknownEffect(schema)
})

const Event = Schema.Struct({
  specversion: Schema.Literal("1.0"),
  id: Schema.NonEmptyString,
  source: Schema.NonEmptyString,
  type: Schema.NonEmptyString,
  data: Schema.Json
})

/**
 * Writes CloudEvents in structured mode, and reads them: the event's `type` is the contract's name, its `id` the
 * message's id, its `data` what {@link json} would write.
 *
 * @see https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
 * @example
 * ```ts
 * import { Schema } from "effect"
 * import { AmqpContract, AmqpTopology, Codec } from "effect-amqp"
 *
 * const OrderPaid = AmqpContract.make("order.paid", {
 *   payload: Schema.Struct({ id: Schema.Number }),
 *   exchange: AmqpTopology.exchange("orders", { type: "topic" }),
 *   key: "order.{id}.paid",
 *   codec: Codec.cloudEvents({ source: "/shop/orders" })
 * })
 * ```
 * @category codecs
 * @since 0.2.0
 */
export const cloudEvents = (options: { readonly source: string }): Codec =>
  make({
    name: "cloudEvents",
    contentType: "application/cloudevents+json",
    needsMessageId: true,
    encoder: (schema) => {
      const encode = Schema.encodeEffect(Schema.toCodecJson(schema))
      return (value, { messageId, type }) => {
        if (type === "") {
          return Effect.fail(new Unreadable("a cloud event needs a type: pass it beside the value, or use a contract"))
        }
        return Effect.zipWith(encode(value), Clock.currentTimeMillis, (data, now) =>
          JSON.stringify({
            specversion: "1.0",
            id: messageId,
            source: options.source,
            type,
            time: new Date(now).toISOString(),
            datacontenttype: "application/json",
            data
          }))
      }
    },
    decoder: (schema) => {
      const decodeEvent = Schema.decodeUnknownEffect(Schema.fromJsonString(Event))
      const decode = Schema.decodeUnknownEffect(Schema.toCodecJson(schema))
      return (body) =>
        JsonBody.text(body).pipe(
          Effect.flatMap((json) => decodeEvent(json)),
          Effect.flatMap(({ data }) => decode(data))
        )
    }
  })

/**
 * Compresses bodies of at least `above` bytes, and says so by `content-encoding: gzip`. Every codec reads compressed
 * bodies; only what this one makes writes them. `above` defaults to 1024.
 *
 * @example
 * ```ts
 * import { Codec } from "effect-amqp"
 *
 * const codec = Codec.gzip(Codec.json, { above: 4096 })
 * ```
 * @category codecs
 * @since 0.2.0
 */
export const gzip = (codec: Codec, options: { readonly above?: number | undefined } = {}): Codec => ({
  ...codec,
  gzipAbove: options.above ?? 1024
})

/**
 * The parts of a message that a codec makes; spread them into the message.
 *
 * @category models
 * @since 0.2.0
 */
export interface Encoded {
  readonly body: string | Uint8Array
  readonly contentType: string
  readonly contentEncoding?: string
}

const byteLength = (body: string | Uint8Array): number =>
  typeof body === "string" ? Buffer.byteLength(body) : body.byteLength

/** @internal */
export const encodeWith = <S extends Schema.Constraint>(
  codec: Codec,
  encoder: Encoder<S>,
  value: S["Type"],
  envelope: Envelope,
  messageId: string | undefined
): Effect.Effect<Encoded, PublishError, S["EncodingServices"]> =>
  Effect.matchEffect(encoder(value, envelope), {
    onFailure: (error) =>
      Effect.fail(
        new PublishError({
          messageId,
          reason: new EncodeError({
            published: "no",
            detail: `the schema refused the payload${
              envelope.type === "" ? "" : ` of "${envelope.type}"`
            }: ${error.message}`
          })
        })
      ),
    onSuccess: (body) =>
      codec.gzipAbove === undefined || byteLength(body) < codec.gzipAbove
        ? Effect.succeed<Encoded>({ body, contentType: codec.contentType })
        : Effect.map(
          Gzip.compress(body),
          (compressed): Encoded => ({ body: compressed, contentType: codec.contentType, contentEncoding: "gzip" })
        )
  })

/**
 * Encodes a value for a message without a contract. Fails with a `PublishError` whose reason is `EncodeError` when the
 * schema refuses the value.
 *
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { AmqpPublisher, Codec } from "effect-amqp"
 *
 * const Order = Schema.Struct({ id: Schema.Number, paidAt: Schema.Date })
 *
 * const program = Effect.gen(function*() {
 *   const publisher = yield* AmqpPublisher.AmqpPublisher
 *   const order = yield* Codec.encode(Codec.json, Order, { id: 42, paidAt: new Date() })
 *   yield* publisher.publish({ exchange: "orders", routingKey: "order.42.paid", ...order })
 * })
 * ```
 * @category encoding
 * @since 0.2.0
 */
export const encode = <S extends Schema.Constraint>(
  codec: Codec,
  schema: S,
  value: S["Type"],
  envelope: { readonly type?: string | undefined; readonly messageId?: string | undefined } = {}
): Effect.Effect<Encoded, PublishError, S["EncodingServices"]> =>
  Effect.suspend(() =>
    encodeWith(
      codec,
      codec.encoder(schema),
      value,
      { type: envelope.type ?? "", messageId: envelope.messageId ?? (codec.needsMessageId ? crypto.randomUUID() : "") },
      envelope.messageId
    )
  )

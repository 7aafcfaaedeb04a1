import { assert, describe, it } from "@effect/vitest"
import { Data, Deferred, Effect, Layer, Option, Redacted, Schema, Stream } from "effect"
import type { Fiber } from "effect"
import type { AmqpMessage } from "effect-amqp"
import { Readable } from "node:stream"
import { encode } from "../../src/internal/wire/encodeMessage.ts"
import { Refused } from "../../src/internal/wire/limits.ts"

const encodeBody = (body: unknown) => encode({ routingKey: "q", body: body as AmqpMessage.Body }, () => "id")

const circle: Record<string, unknown> = {}
circle["self"] = circle

class Failure extends Data.TaggedError("Failure")<{ readonly code: number }> {}
class Named {
  get [Symbol.toStringTag]() {
    return "Named"
  }
  readonly id = 1
}
class Ping extends Data.Class<{}> {}
class Order extends Schema.Class<Order>("Order")({ id: Schema.Number }) {}

let deep: unknown = NaN
for (let depth = 0; depth < 100_000; depth++) deep = [deep]

describe("a body that JSON cannot express is refused, and the text says what to do", () => {
  const unfit: ReadonlyArray<readonly [string, unknown, RegExp]> = [
    ["an Effect", Effect.succeed(1), /yield\*/],
    ["a Stream", Stream.make(1), /read it first/],
    ["a Layer", Layer.empty, /value that it gives/],
    ["a fiber", Effect.runFork(Effect.never), /value that it gives/],
    ["a Deferred", Deferred.makeUnsafe<number>(), /value that it gives/],
    ["Redacted", Redacted.make("secret"), /Redacted\.value/],
    ["a Promise", Promise.resolve(1), /await/],
    ["a Map", new Map([["a", 1]]), /Object\.fromEntries/],
    ["a Set", new Set([1]), /Array\.from/],
    ["a WeakMap", new WeakMap(), /WeakMap/],
    ["an Error", new Error("disk full"), /fields/],
    ["an Error of a class with fields", new Failure({ code: 1 }), /fields/],
    ["a RegExp", /x/, /RegExp/],
    ["a Blob", new Blob(["x"]), /arrayBuffer/],
    ["a Response", new Response("x"), /arrayBuffer/],
    ["Headers", new Headers({ a: "b" }), /Headers/],
    ["FormData", new FormData(), /FormData/],
    ["a web stream", new ReadableStream(), /read it first/],
    ["a node stream", Readable.from(["x"]), /read it first/],
    ["URLSearchParams", new URLSearchParams("a=1"), /toString/],
    ["a SharedArrayBuffer", new SharedArrayBuffer(1), /base64/],
    ["a generator", (function*() {})(), /Generator/],
    ["NaN", NaN, /null or a string/],
    ["Infinity", -Infinity, /-Infinity.*null or a string/],
    ["a boxed NaN", Object(NaN), /JSON/],
    ["an invalid Date", new Date(NaN), /valid/],
    ["a function", () => 1, /what it returns/],
    ["a symbol", Symbol("x"), /symbol/],
    ["a bigint", 1n, /string/],
    ["undefined", undefined, /missing|undefined/],
    ["a circle", circle, /circular/],
    ["nesting without end", deep, /cannot be written/],
    ["a toJSON that throws", {
      toJSON: () => {
        throw new Error("boom")
      }
    }, /boom/],
    ["a toJSON that returns nothing", { toJSON: () => undefined }, /toJSON/]
  ]
  for (const [name, body, says] of unfit) {
    it(`${name}, alone`, () => {
      const refused = encodeBody(body)
      assert.instanceOf(refused, Refused)
      assert.strictEqual(refused.field, "body")
      assert.match(refused.detail, says)
    })

    if (name === "undefined" || name.startsWith("a toJSON")) continue
    it(`${name}, within an object and a list`, () => {
      const refused = encodeBody({ fine: 1, list: [{}, { bad: body }] })
      assert.instanceOf(refused, Refused)
      assert.match(refused.detail, says)
      if (!/circle|nesting/.test(name)) assert.include(refused.detail, "it.list[1].bad is ")
    })
  }

  it("undefined, a hole and bytes within a list", () => {
    for (
      const [body, says] of [[[1, undefined], /it\[1\] is undefined/], [Array.from({ length: 1 }), /it\[0\]/], [
        [new Uint8Array(1)],
        /base64/
      ]] as const
    ) {
      const refused = encodeBody(body)
      assert.instanceOf(refused, Refused)
      assert.match(refused.detail, says)
    }
  })

  it("text that was cut within an emoji", () => {
    const refused = encodeBody("order 😀".slice(0, 7))
    assert.instanceOf(refused, Refused)
    assert.match(refused.detail, /surrogate/)
  })

  it("a secret is not in the text", () => {
    assert.notInclude(JSON.stringify(encodeBody({ password: Redacted.make("s3cr3t") })), "s3cr3t")
  })
})

describe("a body that JSON can express is sent as JSON.stringify writes it", () => {
  const fit: ReadonlyArray<readonly [string, unknown]> = [
    ["an object", { id: 42, name: "é😀", tags: ["a", null, true], nested: { n: -0, e: 1e21 } }],
    ["an object whose optional field is undefined", { a: 1, b: undefined }],
    ["an object without a prototype", Object.assign(Object.create(null) as object, { a: 1 })],
    ["a Date", new Date(0)],
    ["a Date in an object", { at: new Date(0) }],
    ["a list", [1, "a"]],
    ["an empty list", []],
    ["null", null],
    ["a boolean", false],
    ["a number", 1.5],
    ["a Schema class", new Order({ id: 1 })],
    ["an instance with fields that names its class", new Named()],
    ["an instance without fields", new Ping()],
    ["what has a toJSON", { toJSON: () => ({ a: 1 }) }],
    ["a URL", new URL("http://h/")],
    ["an Option", Option.some(1)],
    ["boxed values", [Object("x"), Object(1), Object(true)]],
    ["half a surrogate pair, which JSON escapes", { text: "\ud83d" }],
    ["a Buffer in an object, by its toJSON", { bytes: Buffer.from("x") }],
    ["one object in two places", [circle["nothing"] ?? {}, {}]]
  ]
  for (const [name, body] of fit) {
    it(name, () => {
      const encoded = encodeBody(body)
      assert.notInstanceOf(encoded, Refused)
      if (encoded instanceof Refused) return
      assert.strictEqual(Buffer.from(encoded.body).toString(), JSON.stringify(body))
      assert.strictEqual(encoded.properties.contentType, "application/json")
    })
  }

  it("bytes of every kind are sent as they are", () => {
    for (const body of [new Uint8Array([1, 2]), new Uint8Array([1, 2]).buffer, new DataView(new ArrayBuffer(2))]) {
      const encoded = encodeBody(body)
      assert.notInstanceOf(encoded, Refused)
      if (!(encoded instanceof Refused)) assert.strictEqual(encoded.body.byteLength, 2)
    }
  })
})

describe("text that was cut within an emoji is refused with the name of its field", () => {
  const cut = "order 😀".slice(0, 7)
  const long = "x".repeat(60) + cut
  const fields: ReadonlyArray<readonly [string, Partial<AmqpMessage.Message>]> = [
    ["exchange", { exchange: cut }],
    ["exchange", { exchange: { _tag: "Exchange", name: cut } as AmqpMessage.Message["exchange"] }],
    ["routingKey", { routingKey: cut }],
    ["routingKey", { routingKey: long }],
    ["messageId", { messageId: cut }],
    ["contentType", { contentType: cut }],
    ["contentEncoding", { contentEncoding: cut }],
    ["correlationId", { correlationId: cut }],
    ["replyTo", { replyTo: cut }],
    ["type", { type: cut }],
    ["userId", { userId: cut }],
    ["appId", { appId: cut }],
    ["headers.a", { headers: { a: cut } }],
    ["headers.a.b[1]", { headers: { a: { b: ["", long] } } }],
    ["headers", { headers: { [cut]: 1 } }],
    ["headers.a", { headers: { a: { [cut]: 1 } } }]
  ]
  it.each(fields)("%s", (field, fields) => {
    const refused = encode({ routingKey: "q", body: "x", ...fields }, () => "id")
    assert.instanceOf(refused, Refused)
    assert.strictEqual(refused.field, field)
    assert.match(refused.detail, /surrogate/)
  })

  it("whole emoji are sent", () => {
    const encoded = encode({ routingKey: "😀", body: "😀", headers: { "😀": "😀" } }, () => "😀")
    assert.notInstanceOf(encoded, Refused)
  })
})

describe("what cannot be a body does not compile", () => {
  const body = (body: AmqpMessage.Body) => body
  interface Row {
    readonly id: number
    readonly name?: string | undefined
  }
  it("data of every shape compiles", () => {
    const row: Row = { id: 1 }
    const rows: ReadonlyArray<Row> = [row]
    const generic = <A extends object>(a: A) => a as object
    for (
      const data of [
        body(row),
        body(rows),
        body(generic(row)),
        body({ id: 1, nested: { a: [row] } }),
        body(new Order({ id: 1 })),
        body(new Date()),
        body(new Uint8Array()),
        body(Buffer.from("x")),
        body(new ArrayBuffer(1)),
        body(new DataView(new ArrayBuffer(1))),
        body("x"),
        body(1),
        body(null),
        body({}),
        body([])
      ]
    ) assert.notInstanceOf(encodeBody(data), Refused)
  })

  it("what JSON cannot express does not", () => {
    const refused = [
      // @ts-expect-error an Effect
      body(Effect.succeed(1)),
      // @ts-expect-error a Stream
      body(Stream.make(1)),
      // @ts-expect-error a Layer
      body(Layer.empty),
      // @ts-expect-error a fiber
      body(Effect.runFork(Effect.never) as Fiber.Fiber<never>),
      // @ts-expect-error Redacted
      body(Redacted.make("x")),
      // @ts-expect-error a Promise
      body(Promise.resolve(1)),
      // @ts-expect-error a Map
      body(new Map()),
      // @ts-expect-error a Set
      body(new Set()),
      // @ts-expect-error a function
      body(() => 1),
      // @ts-expect-error a class
      body(Order),
      // @ts-expect-error a Blob
      body(new Blob([])),
      // @ts-expect-error a web stream
      body(new ReadableStream()),
      // @ts-expect-error a node stream
      body(Readable.from([])),
      // @ts-expect-error URLSearchParams
      body(new URLSearchParams()),
      // @ts-expect-error a RegExp
      body(/x/),
      // @ts-expect-error a bigint
      body(1n),
      // @ts-expect-error a symbol
      body(Symbol("x")),
      // @ts-expect-error undefined
      body(undefined)
    ]
    for (const value of refused) assert.instanceOf(encodeBody(value), Refused)
  })
})

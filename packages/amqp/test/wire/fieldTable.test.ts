import { assert, describe, it } from "@effect/vitest"
import type { Headers, HeaderValue } from "../../src/AmqpMessage.ts"
import { TypedNumber } from "../../src/internal/typedNumber.ts"
import { readTable, UnreadableTable } from "../../src/internal/wire/fieldReader.ts"
import { maxDepth, tableProblem, tableSize } from "../../src/internal/wire/fieldSize.ts"
import { writeTable } from "../../src/internal/wire/fieldWriter.ts"
import { editTable } from "../../src/internal/wire/tableEdit.ts"
import { tables } from "../support/AmqplibCodec.ts"
import { makeRandom, tableAsRead, tableForAmqplib } from "../support/RandomMessages.ts"

const written = (table: Headers): Buffer => {
  const size = tableSize(table)
  assert.isAtLeast(size, 4, JSON.stringify(tableProblem(table, "headers")))
  const buffer = Buffer.alloc(size)
  assert.strictEqual(writeTable(buffer, table, 0), size)
  return buffer
}

/** The entries of a table with one key, whose value has these bytes. */
const entry = (key: string, ...value: ReadonlyArray<number | string>): Buffer =>
  Buffer.concat([
    Buffer.from([key.length]),
    Buffer.from(key),
    ...value.map((part) => typeof part === "string" ? Buffer.from(part) : Buffer.from([part]))
  ])

const nested = (levels: number): Headers => {
  let value: HeaderValue = 1
  for (let level = 0; level < levels; level++) value = { down: value }
  return { down: value }
}

describe("A header table on the wire", () => {
  it("has the same bytes as amqplib gives it, for 3,000 random tables, and exactly as many as were counted", () => {
    const buffer = Buffer.alloc(0x100000)
    for (let seed = 1; seed <= 3000; seed++) {
      const table = makeRandom(seed).table(4)
      const length = tables.encodeTable(buffer, tableForAmqplib(table), 0)
      assert.isTrue(written(table).equals(buffer.subarray(0, length)), `seed ${seed}`)
    }
  })

  it("is read as what was written, for 3,000 random tables", () => {
    for (let seed = 1; seed <= 3000; seed++) {
      const table = makeRandom(seed).table(4)
      assert.deepStrictEqual(readTable(written(table).subarray(4)), tableAsRead(table), `seed ${seed}`)
    }
  })

  it.each<[string, ReadonlyArray<number | string>, HeaderValue]>([
    ["t", ["t", 1], true],
    ["b", ["b", 0x80], -128],
    ["B", ["B", 0xff], 255],
    ["s", ["s", 0xff, 0xfe], -2],
    ["u", ["u", 0xff, 0xfe], 65534],
    ["I", ["I", 0xff, 0xff, 0xff, 0xfe], -2],
    ["i", ["i", 0xff, 0xff, 0xff, 0xfe], 4294967294],
    ["l", ["l", 0x00, 0x00, 0x01, 0x9a, 0xbd, 0xaf, 0xb3, 0xc0], 1764119000000],
    ["L", ["L", 0x00, 0x00, 0x01, 0x9a, 0xbd, 0xaf, 0xb3, 0xc0], 1764119000000],
    ["L, negative", ["L", 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], -2],
    ["l beyond 2^53", ["l", 0, 0x20, 0, 0, 0, 0, 0, 1], 9007199254740993n],
    ["l at -2^63", ["l", 0x80, 0, 0, 0, 0, 0, 0, 0], -(2n ** 63n)],
    ["f", ["f", 0x3f, 0xc0, 0, 0], 1.5],
    ["d", ["d", 0x3f, 0xf8, 0, 0, 0, 0, 0, 0], 1.5],
    ["D", ["D", 2, 0, 0, 0x30, 0x39], 123.45],
    ["S", ["S", 0, 0, 0, 3, "abc"], "abc"],
    ["x", ["x", 0, 0, 0, 2, 1, 2], Buffer.from([1, 2])],
    ["A", ["A", 0, 0, 0, 4, "t", 0, "b", 7], [false, 7]],
    ["T", ["T", 0, 0, 0, 0, 0, 0, 0, 10], new Date(10_000)],
    ["T before 1970, as Java writes it", ["T", 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf6], new Date(-10_000)],
    [
      "T in microseconds",
      ["T", 0, 6, 0x44, 0x70, 0x6f, 0x2b, 0x80, 0],
      new TypedNumber("timestamp", 0x644706f2b8000)
    ],
    ["V", ["V"], null],
    ["F", ["F", 0, 0, 0, 4, 1, "!", "t", 1], Object.assign(Object.create(null) as object, { "!": true })]
  ])("is read with a value of type %s", (_, bytes, value) => {
    assert.deepStrictEqual(readTable(entry("key", ...bytes))["key"], value)
  })

  it("is read with 20,000 levels, which is what a frame can hold", () => {
    let table = Buffer.alloc(0)
    for (let level = 0; level < 20_000; level++) {
      const length = Buffer.alloc(4)
      length.writeUInt32BE(table.length)
      table = Buffer.concat([Buffer.from([0, 0x46]), length, table])
      if (table.length > 131_000) break
    }
    let depth = 0
    for (let value = readTable(table) as HeaderValue | undefined; value !== undefined; value = (value as Headers)[""]) {
      depth++
    }
    assert.isAbove(depth, 20_000)
  })

  it("is read with the key __proto__ as an entry like any other", () => {
    const headers = readTable(entry("__proto__", "F", 0, 0, 0, 7, 4, "evil", "t", 1))
    assert.deepStrictEqual(Object.keys(headers), ["__proto__"])
    assert.notProperty(headers, "evil")
  })

  it.each([
    ["an unknown type", entry("odd", "?", 1), "\"?\" is no type of a field"],
    ["an unknown type that is no letter", entry("odd", 0, 1), "0x00 is no type of a field"],
    ["a string that is longer than the table", entry("long", "S", 0xff, 0xff, 0xff, 0xff), "longer than what holds it"],
    ["a number that is cut", entry("cut", "l", 0), "longer than what holds it"],
    ["an entry of a list that is longer than the list", entry("list", "A", 0, 0, 0, 3, "S", 0, 0), "what holds it"],
    ["a key that is cut", Buffer.from([9, 0x61]), "a key is longer than the table"],
    ["a key without a value", Buffer.from([1, 0x61]), "a key is longer than the table"]
  ])("is refused with %s when it is read, and shows the entries before that", (_, bytes, detail) => {
    const before = entry("before", "b", 7)
    try {
      readTable(Buffer.concat([before, bytes]))
      assert.fail("it was read")
    } catch (error) {
      assert.instanceOf(error, UnreadableTable)
      assert.include((error as UnreadableTable).message, detail)
      assert.strictEqual((error as UnreadableTable).before["before"], 7)
    }
  })

  it.each<[string, unknown, string, string]>([
    ["half a surrogate pair in a value", { a: { b: ["order 😀".slice(0, 7)] } }, "headers.a.b[0]", "surrogate pair"],
    ["half a surrogate pair in a key", { ["x\udc00"]: 1 }, "headers", "surrogate pair"],
    ["half a surrogate pair far behind", { a: `${"a".repeat(500)}\ud800` }, "headers.a", "surrogate pair"],
    ["a key of 256 bytes", { ["a".repeat(256)]: 1 }, "headers", "256 bytes"],
    ["NaN", { n: NaN }, "headers.n", "use a finite number"],
    ["a bigint of more than 64 bits", { n: 2n ** 63n }, "headers.n", "more than 64 bits"],
    ["a function", { f: () => 1 }, "headers.f", "a function"],
    ["undefined in a list", { list: [undefined] }, "headers.list[0]", "missing"],
    ["an invalid Date", { when: new Date(NaN) }, "headers.when", "a valid Date"],
    ["int8 of 128", { n: new TypedNumber("int8", 128) }, "headers.n", "-128 to 127"],
    ["int64 of 2^63", { n: new TypedNumber("int64", 2n ** 63n) }, "headers.n", "out of the range"],
    ["int32 of a fraction", { n: new TypedNumber("int32", 1.5) }, "headers.n", "not a whole number"],
    ["a table in a table beyond the deepest level", nested(maxDepth + 1), "headers", "levels deep"]
  ])("is refused with %s before it is written, by the entry's name", (_, table, path, detail) => {
    assert.strictEqual(tableSize(table as Headers), -1)
    const problem = tableProblem(table, "headers")
    assert.isTrue(problem!.path.startsWith(path), problem!.path)
    assert.include(problem!.detail, detail)
  })

  it("is refused if it holds itself, however often", () => {
    const table: Record<string, HeaderValue> = {}
    for (const key of ["a", "b", "c"]) table[key] = table
    assert.strictEqual(tableSize(table), -1)
    assert.isDefined(tableProblem(table, "headers"))
    let shared: HeaderValue = "end"
    for (let level = 0; level < 200; level++) shared = [shared, shared]
    assert.strictEqual(tableSize({ shared }), -1)
    assert.include(tableProblem({ shared }, "headers")!.detail, "use the body")
  })

  it("with whole numbers beyond 64 bits has them as doubles", () => {
    for (const value of [2 ** 63, -(2 ** 64), 1e300]) {
      assert.strictEqual(readTable(written({ value }).subarray(4))["value"], value)
    }
  })
})

describe("A received header table", () => {
  it("keeps its entries byte by byte while others are added and removed, for 2,000 random tables", () => {
    for (let seed = 1; seed <= 2000; seed++) {
      const random = makeRandom(seed)
      const table = random.table(3)
      const add = random.table(1)
      const removed = new Set(Object.keys(table).filter(() => random.chance(0.3)))
      const edited = editTable(written(table).subarray(4), { add, remove: (key) => removed.has(key) })
      const expected: Record<string, HeaderValue | undefined> = {}
      for (const [key, value] of Object.entries(table)) {
        if (!removed.has(key) && add[key] === undefined) expected[key] = value
      }
      const bytes = Buffer.concat([written(add).subarray(4), written(expected).subarray(4)])
      assert.isTrue(edited.equals(bytes), `seed ${seed}`)
    }
  })

  it("that cannot be read is kept whole, and shows what was added", () => {
    const strange = Buffer.concat([entry("first", "b", 1), entry("odd", "?", 9, 9), entry("last", "b", 2)])
    const edited = editTable(strange, { add: { attempt: 2 }, remove: (key) => key === "first" || key === "last" })
    assert.isTrue(edited.equals(Buffer.concat([entry("attempt", "b", 2), strange.subarray(8)])))
    const again = editTable(edited, { add: { attempt: 3 }, remove: () => false })
    assert.isTrue(again.equals(Buffer.concat([entry("attempt", "b", 3), strange.subarray(8)])))
    assert.throws(() => readTable(again), UnreadableTable)
  })
})

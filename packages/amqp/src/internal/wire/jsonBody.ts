/**
 * Bodies that are written as JSON. `JSON.stringify` drops or changes without a word what JSON cannot express: an `Effect`
 * that nobody ran, a `Map`, an error, NaN. Such a body is refused, with what to do.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"

/** Writes a body as JSON, or tells why it cannot be. */
export const writeJson = (body: unknown): { readonly text: string } | { readonly refused: string } => {
  try {
    // Throws for a circle and for nesting without end, so that the walk below comes to an end.
    const text = JSON.stringify(body) as string | undefined
    const refused = walk(body, "", "it")
    if (refused !== undefined) return { refused }
    return text === undefined ? { refused: "its toJSON returns nothing; pass a value that JSON can express" } : { text }
  } catch (error) {
    // A bigint throws as well, and the walk says better where it is.
    const refused = attempt(() => walk(body, "", "it"))
    return { refused: refused ?? `it cannot be written as JSON (${error instanceof Error ? error.message : error})` }
  }
}

const attempt = <A>(f: () => A): A | undefined => {
  try {
    return f()
  } catch {
    return undefined
  }
}

/** Says of the first value that JSON cannot express where it is, what it is, and what to do with it. */
const walk = (value: unknown, key: string, path: string): string | undefined => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return undefined
    case "number":
      return Number.isFinite(value)
        ? undefined
        : `${path} is ${value}, a number that JSON does not have; use null or a string`
    case "undefined":
      return `${path} is ${
        path === "it" ? "missing" : "undefined"
      }; pass null, a string, bytes, or a value that JSON can express`
    case "bigint":
      return `${path} is a bigint, which JSON cannot express; write it as a string`
    case "symbol":
      return `${path} is a symbol, which JSON cannot express; write its description as a string`
    case "function":
      return `${path} is a function, which JSON cannot express; pass what it returns`
    case "object":
      return value === null ? undefined : walkObject(value, key, path)
  }
}

const walkObject = (value: object, key: string, path: string): string | undefined => {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null && !Array.isArray(value)) {
    const unfit = unfitInstance(value)
    if (unfit !== undefined) return `${path} is ${unfit}`
  }
  if (Predicate.hasProperty(value, "toJSON") && typeof value.toJSON === "function") {
    const json: unknown = value.toJSON(key)
    return json === undefined || json === value ? undefined : typeof json === "object" && json !== null
      ? walkEntries(json, path)
      : walk(json, key, path)
  }
  return walkEntries(value, path)
}

const walkEntries = (value: object, path: string): string | undefined => {
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const refused = walk(value[index], String(index), `${path}[${index}]`)
      if (refused !== undefined) return refused
    }
    return undefined
  }
  for (const key of Object.keys(value)) {
    const entry = (value as Record<string, unknown>)[key]
    // An optional field that is absent may be undefined as well.
    if (entry === undefined) continue
    const refused = walk(entry, key, `${path}.${key}`)
    if (refused !== undefined) return refused
  }
  return undefined
}

const isStream = (value: object): boolean =>
  "~effect/Stream" in value || (("pipe" in value || "getReader" in value) && Symbol.asyncIterator in value)

/** Names an instance that JSON would write as `{}`, or as something that nobody can read back, and what to do. */
const unfitInstance = (value: object): string | undefined => {
  // Errors of Effect are effects as well.
  if (value instanceof Error) return "an Error, whose message JSON would drop; pass the fields that the reader needs"
  if (Effect.isEffect(value)) return "an Effect that was not run; yield* it first"
  if (Redacted.isRedacted(value)) return `Redacted, which would be sent as "<redacted>"; unwrap it with Redacted.value`
  if (value instanceof Date) {
    return Number.isNaN(value.getTime()) ? "an invalid Date; pass a valid one, or null" : undefined
  }
  if (isStream(value)) return "a stream; read it first, or publish its elements one by one"
  if ("~effect/Layer" in value || "~effect/Fiber" in value || "~effect/Deferred" in value) {
    return "a part of the program and not data; pass the value that it gives"
  }
  if (ArrayBuffer.isView(value) && !Buffer.isBuffer(value)) return "bytes within JSON; encode them as base64"
  const tag = Object.prototype.toString.call(value).slice(8, -1)
  switch (tag) {
    case "Object":
    case "Array":
    case "Boolean":
    case "Number":
    case "String":
      return tag === "Number" && !Number.isFinite(value.valueOf()) ? "a number that JSON does not have" : undefined
    case "Promise":
      return "a Promise; await it first"
    case "Map":
      return "a Map, which JSON writes as {}; use Object.fromEntries(map)"
    case "Set":
      return "a Set, which JSON writes as {}; use Array.from(set)"
    case "URLSearchParams":
      return "URLSearchParams, which JSON writes as {}; use its toString()"
    case "Blob":
    case "File":
    case "Response":
    case "Request":
      return `a ${tag}, which JSON writes as {}; read its bytes first: await it.arrayBuffer()`
    case "ArrayBuffer":
    case "SharedArrayBuffer":
      return "bytes within JSON; encode them as base64"
    default:
      // A class that names itself may have fields. One without fields and without toJSON says nothing in JSON.
      return typeof (value as { readonly toJSON?: unknown }).toJSON === "function" || Object.keys(value).length > 0
        ? undefined
        : `of the class ${tag}, which JSON writes as {}; pass the fields that the reader needs`
  }
}

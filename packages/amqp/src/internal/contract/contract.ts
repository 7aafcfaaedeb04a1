/**
 * Contracts as values, and what is wrong with one.
 */
import * as Data from "effect/Data"
import type * as Schema from "effect/Schema"
import type { Exchange } from "../../AmqpTopology.ts"
import type { Codec } from "../../Codec.ts"
import * as KeyTemplate from "./keyTemplate.ts"

/**
 * The header that carries the version of a message's schema. A message without it has version 1.
 *
 * @category constants
 * @since 0.2.0
 */
export const versionHeader = "x-schema-version"

/**
 * A contract, see {@link make}. `EarlierServices` is what decoding the earlier versions needs.
 *
 * @category models
 * @since 0.2.0
 */
export interface Contract<
  out Type extends string,
  out Payload extends Schema.Constraint,
  out Key extends string = string,
  out EarlierServices = unknown
> {
  readonly type: Type
  readonly version: number
  readonly payload: Payload
  readonly exchange: Exchange
  /** The template of the routing key: fields of the payload stand in braces. */
  readonly key: Key
  /** The key with `*` for each field, as a topic exchange binds it. */
  readonly bindingKey: string
  readonly codec: Codec
  readonly description: string | undefined
  /** The schema of each version that is read, the present one included. */
  readonly versions: ReadonlyMap<number, Schema.Constraint>
  /** What is wrong with the contract; every use of it fails with this sentence. */
  readonly problem: string | undefined
  readonly "~EarlierServices"?: EarlierServices
}

/**
 * Any contract.
 *
 * @category models
 * @since 0.2.0
 */
export interface Any extends Contract<string, Schema.Constraint> {}

/**
 * A message whose type or version no contract of the consumer knows. By default it is dead-lettered.
 *
 * @category errors
 * @since 0.2.0
 */
export class UnknownMessage extends Data.TaggedError("UnknownMessage")<{
  readonly queue: string
  readonly messageId: string | undefined
  readonly type: string | undefined
  /** The header `x-schema-version` as it came; 1 where it is absent. */
  readonly version: unknown
  /** The types that the consumer knows or, where the type is known, its versions. */
  readonly known: ReadonlyArray<string | number>
}> {
  override get message(): string {
    const known = this.known.join(", ")
    const what = `message ${this.messageId ?? "without an id"} of "${this.queue}"`
    if (this.type === undefined) return `${what} has no property "type"; this consumer knows ${known}`
    return this.known.length > 0 && typeof this.known[0] === "number"
      ? `${what} has version ${String(this.version)} of the type "${this.type}"; this consumer knows ${known}`
      : `${what} has the type "${this.type}"; this consumer knows ${known}`
  }
}

/** Says what is wrong with a contract. */
export const problemOf = (
  type: string,
  key: string,
  version: number,
  earlier: ReadonlyMap<number, Schema.Constraint>
): string | undefined => {
  if (type === "" || Buffer.byteLength(type) > 255) return `the type "${type}" has to have 1 to 255 bytes`
  if (!Number.isSafeInteger(version) || version < 1) {
    return `the version of "${type}" is ${version}; it is a whole number of 1 or more`
  }
  for (const number of earlier.keys()) {
    if (!Number.isSafeInteger(number) || number < 1) {
      return `"${type}" accepts the version ${number}; a version is a whole number of 1 or more`
    }
    if (number === version) return `"${type}" accepts the version ${number}, which is its own`
  }
  const refused = KeyTemplate.problem(key)
  return refused === undefined ? undefined : `the key "${key}" of "${type}" ${refused}`
}

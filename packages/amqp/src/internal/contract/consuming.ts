/**
 * From the contracts of a queue and their handlers to the one handler and the options that `AmqpConsumer` takes.
 */
import * as Effect from "effect/Effect"
import type { FailureOutcome, HandlerTimeout, Options as ConsumerOptions } from "../../AmqpConsumer.ts"
import type { DecodeError, Delivery } from "../../AmqpDelivery.ts"
import { AmqpError, InvalidConfiguration } from "../../AmqpError.ts"
import { keyTemplate } from "../wire/destination.ts"
import { readableHeaders } from "../wire/properties.ts"
import type { Any } from "./contract.ts"
import { UnknownMessage, versionHeader } from "./contract.ts"

/** What can keep a handler from being run. */
type Unhandled = DecodeError | UnknownMessage

/**
 * How to consume; as `AmqpConsumer.Options`.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options<E> extends Omit<ConsumerOptions<E | DecodeError | UnknownMessage>, "onFailure"> {
  /**
   * What happens to a message whose handler failed. An outcome counts for failed handlers only: messages of an unknown
   * type or version, and those that cannot be decoded, are dead-lettered. A function is asked for those too. Defaults to
   * `deadLetter`.
   */
  readonly onFailure?:
    | FailureOutcome
    | ((error: E | DecodeError | UnknownMessage | HandlerTimeout, delivery: Delivery) => FailureOutcome)
    | undefined
}

const checkContracts = (contracts: ReadonlyArray<Any>): Effect.Effect<ReadonlyMap<string, Any>, AmqpError> => {
  const byType = new Map<string, Any>()
  const invalid = (detail: string) =>
    new AmqpError({ operation: "consume", reason: new InvalidConfiguration({ option: "contracts", detail }) })
  for (const contract of contracts) {
    if (contract.problem !== undefined) return Effect.fail(invalid(contract.problem))
    if (byType.has(contract.type)) {
      return Effect.fail(
        invalid(
          `two contracts have the type "${contract.type}", and a message could not tell which of them it follows; ` +
            "make one contract with two versions"
        )
      )
    }
    byType.set(contract.type, contract)
  }
  return byType.size === 0
    ? Effect.fail(invalid("the list is empty; name at least one contract"))
    : Effect.succeed(byType)
}

type AnyHandler = (payload: unknown, delivery: Delivery) => Effect.Effect<unknown, unknown, unknown>

/** Finds the contract of a delivery and decodes its payload, before the handler of its type is run. */
const dispatch = (
  contracts: ReadonlyMap<string, Any>,
  handlers: Readonly<Record<string, AnyHandler>>
) =>
(delivery: Delivery): Effect.Effect<unknown, unknown, unknown> => {
  const type = delivery.properties.type
  const contract = type === undefined ? undefined : contracts.get(type)
  // A header that cannot be read costs itself, and not the message.
  const version = readableHeaders(delivery.properties)?.[versionHeader] ?? 1
  const schema = contract?.versions.get(version as number)
  if (contract === undefined || schema === undefined) {
    return Effect.fail(
      new UnknownMessage({
        queue: delivery.queue,
        messageId: delivery.messageId,
        type,
        version,
        known: contract === undefined ? Array.from(contracts.keys()) : Array.from(contract.versions.keys())
      })
    )
  }
  const handle = handlers[contract.type]!
  return Effect.flatMap(delivery.decode(contract.codec, schema), (payload) => handle(payload, delivery))
}

const isUnhandled = (error: unknown): error is Unhandled =>
  typeof error === "object" && error !== null && "_tag" in error &&
  (error._tag === "UnknownMessage" || error._tag === "DecodeError")

const policy = <E>(onFailure: Options<E>["onFailure"]): ConsumerOptions<E | Unhandled>["onFailure"] =>
  typeof onFailure === "object" || onFailure === "requeue" || onFailure === "giveBack"
    ? (error) => isUnhandled(error) ? "deadLetter" : onFailure
    : onFailure

/** The consumer of a queue's contracts: the handler and options that `AmqpConsumer` takes. */
export const prepared = <A, Error, R>(
  contracts: ReadonlyArray<Any>,
  handlers: object,
  options: Options<unknown>,
  use: (
    handler: (delivery: Delivery) => Effect.Effect<unknown, unknown, R>,
    options: ConsumerOptions<unknown>
  ) => Effect.Effect<A, AmqpError, Error>
): Effect.Effect<A, AmqpError, Error> =>
  Effect.flatMap(checkContracts(contracts), (byType) =>
    use(
      dispatch(byType, handlers as Readonly<Record<string, AnyHandler>>) as never,
      {
        ...options,
        onFailure: policy(options.onFailure),
        [keyTemplate]: ({ properties: { type } }: Delivery) => type === undefined ? undefined : byType.get(type)?.key
      } as ConsumerOptions<unknown>
    ))

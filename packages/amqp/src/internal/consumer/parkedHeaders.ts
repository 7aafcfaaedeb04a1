/**
 * Why a message was parked, as headers that people and programs read.
 */
import * as Predicate from "effect/Predicate"
import { hostname } from "node:os"
import type { Delivery } from "../../AmqpDelivery.ts"
import type { Headers } from "../../AmqpMessage.ts"
import { GivenUp } from "./givenUp.ts"

// The headers of a message have to fit into one frame, and a text may hold a whole document.
const maxTextBytes = 1024

/** Cuts a text to some bytes of UTF-8, between two characters. */
const bounded = (text: string): string => {
  const wellFormed = text.replaceAll(/\p{Surrogate}/gu, "\ufffd")
  if (Buffer.byteLength(wellFormed) <= maxTextBytes) return wellFormed
  return `${new TextDecoder().decode(Buffer.from(wellFormed).subarray(0, maxTextBytes)).replace(/\ufffd+$/, "")}…`
}

const tagOf = (error: unknown): string =>
  Predicate.hasProperty(error, "_tag") && typeof error._tag === "string"
    ? error._tag
    : error instanceof Error
    ? error.name
    : typeof error

const textOf = (error: unknown): string => {
  try {
    return Predicate.hasProperty(error, "message") && typeof error.message === "string" ? error.message : String(error)
  } catch {
    return "an error that has no text"
  }
}

/** Tells what the last attempt failed with, its number, when and where. */
export const parkedHeaders = (
  failure: unknown,
  delivery: Delivery,
  at: Date,
  connectionName: string | undefined
): Headers => {
  const { attempts, error } = failure instanceof GivenUp ? failure : { error: failure, attempts: 1 }
  return {
    "x-parked-error": bounded(tagOf(error)),
    "x-parked-reason": bounded(textOf(error)),
    "x-parked-attempts": delivery.attempts - 1 + attempts,
    "x-parked-at": at,
    "x-parked-by": bounded(connectionName === undefined ? hostname() : `${connectionName} on ${hostname()}`)
  }
}

/**
 * Finds the message that came back (`basic.return`), which names no delivery tag. Returns come in the order of
 * publishing, each before the answer to its message.
 */
import type { DriverReturn } from "../../AmqpDriver.ts"
import type { Entry } from "./entry.ts"
import type { Window } from "./window.ts"

/** Notes a return with the oldest message in flight that fits. */
export const attribute = (window: Window, returned: DriverReturn): void => {
  const isSame = ({ encoded: { exchange, mandatory, routingKey } }: Entry): boolean =>
    mandatory && exchange === returned.exchange && routingKey === returned.routingKey
  const isTwin = (entry: Entry): boolean => isSame(entry) && entry.encoded.properties.messageId === returned.messageId
  const unreturned = (fits: (entry: Entry) => boolean): Entry | undefined =>
    window.find((entry) => entry.returned === undefined && fits(entry))
  // An id may be empty or anything else that does not come back as it was sent; each return belongs to a message.
  const entry = unreturned(isTwin) ?? unreturned(isSame) ?? unreturned(({ encoded }) => encoded.mandatory)
  if (entry === undefined) return
  entry.returned = returned
  const hasTwin = isTwin(entry) && window.find((other) => other !== entry && isTwin(other)) !== undefined
  if (hasTwin) doubt(window.open().filter(isTwin), returned)
}

/**
 * Leaves open which of several messages that look alike a return belongs to, unless each of them has one: a queue may have
 * been bound or unbound between them. The broker may have any of them, and none is known to be confirmed.
 */
const doubt = (twins: ReadonlyArray<Entry>, returned: DriverReturn): void => {
  const isClear = twins.every((twin) => twin.returned !== undefined)
  for (const twin of twins) twin.maybeReturned = isClear ? undefined : returned
}

/**
 * Exchanges and queues by name or as a value: the one type of it for every module.
 */

/** An entity by its name, or as a value of `AmqpTopology`; a queue where an exchange belongs does not compile. */
export type Named<Tag extends "Exchange" | "Queue"> = string | {
  readonly _tag: Tag
  readonly name: string
  readonly arguments?: Readonly<Record<string, unknown>> | undefined
}

/** Reads the name. */
export const nameOf = (named: Named<"Exchange" | "Queue">): string => typeof named === "string" ? named : named.name

/** Reads the type of a queue from its value; `undefined` where the value does not tell. */
export const queueTypeOf = (queue: Named<"Queue">): string | undefined => {
  const type = typeof queue === "string" ? undefined : queue.arguments?.["x-queue-type"]
  return typeof type === "string" ? type : undefined
}

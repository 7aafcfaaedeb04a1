/**
 * Exchanges and queues by name or as a value: the one type of it for every module.
 */

/** An entity by its name, or as a value of `AmqpTopology`; a queue where an exchange belongs does not compile. */
export type Named<Tag extends "Exchange" | "Queue"> = string | { readonly _tag: Tag; readonly name: string }

/** Reads the name. */
export const nameOf = (named: Named<"Exchange" | "Queue">): string => typeof named === "string" ? named : named.name

/**
 * Makes something of a schema once, because an encoder or a decoder costs more to make than to use.
 */
import type * as Schema from "effect/Schema"

/** Remembers what `make` made of each schema for as long as the schema lives. */
export const onceForEach = <A>(make: (schema: Schema.Constraint) => A): (schema: Schema.Constraint) => A => {
  const made = new WeakMap<Schema.Constraint, A>()
  return (schema) => {
    let one = made.get(schema)
    if (one === undefined) {
      one = make(schema)
      made.set(schema, one)
    }
    return one
  }
}

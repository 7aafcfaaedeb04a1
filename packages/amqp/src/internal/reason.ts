/**
 * The base class of errors whose stack would say nothing: one cause may fail thousands of messages, and every one of
 * their stacks would show the same callback of a driver. Where the effect failed is in its `Cause`, which Effect fills.
 */
import * as Data from "effect/Data"

/** Makes the class of a tagged error that captures no stack, and that logs and JSON show with its sentence. */
export const Reason = <Tag extends string>(tag: Tag): ReturnType<typeof Data.TaggedError<Tag>> => {
  class Base extends Data.TaggedError(tag)<Record<string, unknown>> {
    constructor(fields: Record<string, unknown>) {
      // Frozen intrinsics keep their limit, and the error keeps its stack.
      const limit = Error.stackTraceLimit
      const isWritable = Reflect.set(Error, "stackTraceLimit", 0)
      super(fields)
      if (isWritable) Error.stackTraceLimit = limit
    }
    // What an Effect logger prints of an error; without this it prints the fields alone.
    override toJSON(): unknown {
      const { _tag, ...fields } = this as unknown as Record<string, unknown>
      return { _tag, message: this.message, ...Object.fromEntries(Object.entries(fields).map(toJson)) }
    }
  }
  return Base as ReturnType<typeof Data.TaggedError<Tag>>
}

const toJson = ([key, value]: [string, unknown]): [string, unknown] => [
  key,
  value instanceof Error && "toJSON" in value && typeof value.toJSON === "function" ? value.toJSON() : value
]

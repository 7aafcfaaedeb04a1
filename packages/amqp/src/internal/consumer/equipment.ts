/**
 * What every handler has: a scope, a deadline and a span of its own.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { keyTemplate } from "../wire/destination.ts"
import { HandlerTimeout } from "./errors.ts"
import type { HandlingOptions, Source } from "./options.ts"
import type { PortionKind } from "./portions.ts"
import type { SpanOptions, TemplatedOptions } from "./span.ts"
import { withConsumerSpan } from "./span.ts"

/** A handler, and what is known of its queue. */
export interface HandlerOptions<T, E, R> {
  readonly handler: (content: T) => Effect.Effect<unknown, E, R>
  /** The handler scopes each of its attempts by itself. */
  readonly isScoped: boolean
  readonly options: HandlingOptions<never, never>
  readonly portions: PortionKind<T>
  readonly queue: Source
}

/** Gives a handler its scope, its deadline and its span. */
export const equip = <T, E, R>(
  { handler, isScoped, options, portions, queue }: HandlerOptions<T, E, R>,
  handlerTimeout: Duration.Duration | undefined
): (content: T) => Effect.Effect<unknown, E | HandlerTimeout, Exclude<R, Scope.Scope>> => {
  let handle = (content: T): Effect.Effect<unknown, E | HandlerTimeout, Exclude<R, Scope.Scope>> =>
    isScoped
      // Tried again in place, each attempt has a scope of its own.
      ? handler(content) as Effect.Effect<unknown, E, Exclude<R, Scope.Scope>>
      : Effect.scoped(handler(content))
  if (handlerTimeout !== undefined) {
    const inTime = handle
    handle = (content) =>
      Effect.timeoutOrElse(inTime(content), {
        duration: handlerTimeout,
        orElse: () =>
          Effect.fail(
            new HandlerTimeout({ queue: portions.first(content).queue, millis: Duration.toMillis(handlerTimeout) })
          )
      })
  }
  if (options.tracing !== undefined && options.tracing !== false) {
    const traced = handle
    const spans: SpanOptions = {
      tracing: options.tracing === true ? "link" : options.tracing,
      keyTemplate: (options as TemplatedOptions)[keyTemplate],
      isServerNamed: typeof queue === "object" && queue._tag === "ServerNamedQueue"
    }
    handle = (content) => withConsumerSpan(traced(content), portions.all(content), spans)
  }
  return handle
}

/** The spans of a test, in the order in which they began. */
import { Tracer } from "effect"

/** A tracer, and the spans that it made. */
export const make = () => {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span(options) {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { spans, tracer }
}

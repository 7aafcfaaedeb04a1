/** One contender in a process of its own: does what the benchmark asks, and answers with its time and CPU time. */
import { answerTo, peakBytes } from "../measure/answering.ts"
import { take } from "../measure/Measured.ts"
import type { ContenderName } from "./contenders.ts"
import { contenders } from "./contenders.ts"
import type { Load, Publisher } from "./Publisher.ts"

/** The questions of the benchmark to a trial. */
export type Request =
  | { readonly ask: "compile" }
  | { readonly ask: "open"; readonly contender: ContenderName; readonly load: Load }
  | { readonly ask: "publish"; readonly count: number }
  | { readonly ask: "latencies"; readonly count: number }
  | { readonly ask: "peak" }
  | { readonly ask: "close" }

let publisher: Publisher | undefined

/** Milliseconds from the publish to the confirm, of every message. */
const latencies = async (count: number): Promise<ReadonlyArray<number>> => {
  const written = new Float64Array(count)
  const confirmed = new Float64Array(count)
  await publisher!.publish(count, {
    written(index) {
      written[index] = performance.now()
    },
    confirmed(index) {
      confirmed[index] = performance.now()
    }
  })
  return Array.from(confirmed, (time, index) => time - written[index]!)
}

const answer = async (request: Request): Promise<unknown> => {
  switch (request.ask) {
    case "compile":
      for (const load of Object.values(contenders)) await load()
      return undefined
    case "open":
      publisher = await (await contenders[request.contender]()).open(request.load)
      return undefined
    case "publish":
      return take(request.count, () => publisher!.publish(request.count))
    case "latencies":
      return latencies(request.count)
    case "peak":
      return peakBytes()
    case "close":
      await publisher?.close()
      return undefined
  }
}

answerTo(answer)

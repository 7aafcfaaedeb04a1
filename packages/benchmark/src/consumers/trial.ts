/** One contender in a process of its own: does what the benchmark asks, and answers with its time and CPU time. */
import { answerTo, peakBytes } from "../measure/answering.ts"
import { take } from "../measure/Measured.ts"
import type { Consumer, Load } from "./Consumer.ts"
import type { ContenderName } from "./contenders.ts"
import { contenders } from "./contenders.ts"

/** The questions of the benchmark to a trial. */
export type Request =
  | { readonly ask: "compile" }
  | { readonly ask: "open"; readonly contender: ContenderName; readonly load: Load }
  | { readonly ask: "consume"; readonly count: number }
  | { readonly ask: "stop" }
  | { readonly ask: "peak" }
  | { readonly ask: "close" }

let consumer: Consumer | undefined
let stop: (() => Promise<void>) | undefined

const answer = async (request: Request): Promise<unknown> => {
  switch (request.ask) {
    case "compile":
      for (const load of Object.values(contenders)) await load()
      return undefined
    case "open":
      consumer = await (await contenders[request.contender]()).open(request.load)
      return undefined
    case "consume":
      return take(request.count, async () => {
        stop = await consumer!.consume(request.count)
      })
    case "stop":
      return stop?.()
    case "peak":
      return peakBytes()
    case "close":
      return consumer?.close()
  }
}

answerTo(answer)

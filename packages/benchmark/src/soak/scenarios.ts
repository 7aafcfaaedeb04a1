import type { Options } from "./Soak.ts"

/** A soak with a name, and what it has to show. */
export interface Scenario extends Omit<Options, "onProgress"> {
  readonly name: string
  /** The negative control is there to show that the check can fail: it has to lose something. */
  readonly mustLose: boolean
}

/** The soaks of the long run. */
export const scenarios = (cycles: number, closes: number, rate: number): ReadonlyArray<Scenario> => [
  {
    name: `classic queue, ${cycles} × kill -9`,
    fault: "kill",
    queueType: "classic",
    cycles,
    rate,
    persistent: true,
    mustLose: false
  },
  {
    name: `quorum queue, ${cycles} × kill -9`,
    fault: "kill",
    queueType: "quorum",
    cycles,
    rate,
    persistent: true,
    mustLose: false
  },
  {
    name: `classic queue, ${closes} × forced close`,
    fault: "close",
    queueType: "classic",
    cycles: closes,
    rate,
    persistent: true,
    mustLose: false
  },
  {
    name: "negative control: not persistent, 1 × kill -9",
    fault: "kill",
    queueType: "classic",
    cycles: 1,
    rate,
    persistent: false,
    mustLose: true
  }
]

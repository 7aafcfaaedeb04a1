import type * as ConsumingSoak from "./ConsumingSoak.ts"
import * as Faults from "./faults.ts"
import type { Options } from "./Soak.ts"

/** A soak with a name, and what it has to show. */
export interface Scenario extends Omit<Options, "onProgress"> {
  readonly name: string
  /** True for the negative control, which shows that the check can fail: it has to lose messages. */
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

/** A soak with consumers, and what it has to show. */
export interface ConsumingScenario extends Omit<ConsumingSoak.Options, "onProgress"> {
  readonly name: string
  readonly mustLose: boolean
}

const consumingRate = 500

const times = (count: number, fault: Faults.Fault): ReadonlyArray<readonly [number, Faults.Fault]> =>
  Array.from({ length: count }, () => [1500, fault] as const)

/** The soaks of the long run that have consumers. */
export const consumingScenarios = (kills: number, restarts: number): ReadonlyArray<ConsumingScenario> => [
  {
    name: `consumers, quorum queues, ${kills} × kill -9, ${restarts} × restart`,
    faults: [...times(kills, Faults.kill), ...times(restarts, Faults.restart)],
    queueType: "quorum",
    rate: consumingRate,
    persistent: true,
    handlerMillis: 5,
    mustLose: false
  },
  {
    name: "negative control of the consumers: not persistent, 1 × kill -9",
    faults: times(1, Faults.kill),
    queueType: "classic",
    rate: consumingRate,
    persistent: false,
    handlerMillis: 100,
    mustLose: true
  }
]

/** A soak with consumers under random faults, which its seed repeats. */
export const randomScenario = (minutes: number, seed: number): ConsumingScenario => ({
  name: `consumers, quorum queues, random faults for ${minutes} minutes, seed ${seed}`,
  faults: Faults.random(seed),
  minutes,
  queueType: "quorum",
  rate: consumingRate,
  persistent: true,
  handlerMillis: 5,
  mustLose: false
})

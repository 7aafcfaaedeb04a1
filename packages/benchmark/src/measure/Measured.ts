/** The figures of one contender that all benchmarks share. */
import type { Summary } from "./Statistics.ts"
import { percentile, summarize } from "./Statistics.ts"

/** The cost of one turn. */
export interface Sample {
  readonly messages: number
  readonly seconds: number
  /** CPU time of the whole process, garbage collection and I/O threads included. */
  readonly cpuMicros: number
}

/** All turns of one contender. */
export interface Measured {
  readonly samples: ReadonlyArray<Sample>
  /** Messages a second. */
  readonly rate: Summary
  /** Client CPU microseconds a message. */
  readonly cpu: Summary
  /** The largest resident size of the process, in bytes. */
  readonly peakBytes: number
}

/**
 * A contender as a multiple of another one in the same heat: the medians of the ratios of the rounds. Both sides of a
 * round are measured within seconds of each other, so the machine's other work moves these medians less than it moves
 * the ratio of the medians over all rounds.
 */
export interface Ratios {
  readonly rate: number
  readonly cpu: number
}

/** Sums up turns. */
export const measured = (samples: ReadonlyArray<Sample>, peakBytes: number): Measured => ({
  samples,
  rate: summarize(samples.map(rateOf)),
  cpu: summarize(samples.map(cpuOf)),
  peakBytes
})

const cpuOf = ({ cpuMicros, messages }: Sample): number => cpuMicros / messages

const rateOf = ({ messages, seconds }: Sample): number => messages / seconds

/** Sets one contender beside another. */
export const ratios = (one: Measured, other: Measured): Ratios => {
  const byRound = (of: (sample: Sample) => number): number =>
    percentile(one.samples.map((sample, round) => of(sample) / of(other.samples[round]!)), 0.5)
  return { rate: byRound(rateOf), cpu: byRound(cpuOf) }
}

/** Runs an action and measures its cost. */
export const take = async (messages: number, run: () => Promise<unknown>): Promise<Sample> => {
  const cpu = process.cpuUsage()
  const start = performance.now()
  await run()
  const seconds = (performance.now() - start) / 1000
  const { system, user } = process.cpuUsage(cpu)
  return { messages, seconds, cpuMicros: system + user }
}

/** What one contender did, in terms that all benchmarks share. */
import type { Summary } from "./Statistics.ts"
import { percentile, summarize } from "./Statistics.ts"

/** What one turn took. */
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

/** A contender as a multiple of another one in the same heat. */
export interface Ratios {
  /** Median of its own over median of the other's. */
  readonly rate: number
  readonly cpu: number
  readonly peak: number
  /**
   * The median of the ratios of the rounds. Both sides of a round are measured within seconds of each other, so it is
   * less moved by what else the machine does.
   */
  readonly cpuByRound: number
}

/** Sum up turns. */
export const measured = (samples: ReadonlyArray<Sample>, peakBytes: number): Measured => ({
  samples,
  rate: summarize(samples.map(({ messages, seconds }) => messages / seconds)),
  cpu: summarize(samples.map(cpuOf)),
  peakBytes
})

const cpuOf = ({ cpuMicros, messages }: Sample): number => cpuMicros / messages

/** Set one beside another. */
export const ratios = (one: Measured, other: Measured): Ratios => ({
  rate: one.rate.median / other.rate.median,
  cpu: one.cpu.median / other.cpu.median,
  peak: one.peakBytes / other.peakBytes,
  cpuByRound: percentile(one.samples.map((sample, round) => cpuOf(sample) / cpuOf(other.samples[round]!)), 0.5)
})

/** Run something and see what it takes. */
export const take = async (messages: number, run: () => Promise<unknown>): Promise<Sample> => {
  const cpu = process.cpuUsage()
  const start = performance.now()
  await run()
  const seconds = (performance.now() - start) / 1000
  const { system, user } = process.cpuUsage(cpu)
  return { messages, seconds, cpuMicros: system + user }
}

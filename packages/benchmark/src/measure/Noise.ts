/**
 * Measures the noise of the machine: the same short computation, again and again between the measurements. On a quiet
 * machine it takes the same time each time, and as much wall time as CPU time.
 */
import { cpus, loadavg } from "node:os"
import type { Summary } from "./Statistics.ts"
import { percentile, spread } from "./Statistics.ts"

/** What the calibration loop took over a whole run. */
export interface Noise {
  readonly cpuModel: string
  readonly cores: number
  readonly loadAtStart: number
  /** Milliseconds of wall time of the loop; smallest and largest without the tenth at either end. */
  readonly loop: Summary
  /** The share of the loops' wall time in which this process was not running. */
  readonly stolen: number
  readonly verdict: "quiet" | "noisy" | "very noisy"
}

const iterations = 4_000_000

const compute = (): number => {
  let state = 1
  for (let i = 0; i < iterations; i++) state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + i | 0
  return state
}

// Kept, so that the loop is not optimized away.
let result = 0

/** Takes samples of the machine's noise. */
export class Calibration {
  readonly #loadAtStart = loadavg()[0] ?? 0
  readonly #wall: Array<number> = []
  #cpuMillis = 0

  constructor() {
    // The compiler works during the first loops.
    for (let i = 0; i < 5; i++) result ^= compute()
  }

  sample(): void {
    const cpu = process.cpuUsage()
    const start = performance.now()
    result ^= compute()
    this.#wall.push(performance.now() - start)
    const { system, user } = process.cpuUsage(cpu)
    this.#cpuMillis += (system + user) / 1000
  }

  result(): Noise {
    const loop = {
      median: percentile(this.#wall, 0.5),
      min: percentile(this.#wall, 0.1),
      max: percentile(this.#wall, 0.9)
    }
    const total = this.#wall.reduce((sum, wall) => sum + wall, 0)
    const stolen = Math.max(0, 1 - this.#cpuMillis / total)
    const worst = Math.max(spread(loop), stolen)
    return {
      cpuModel: cpus()[0]?.model ?? "unknown",
      cores: cpus().length,
      loadAtStart: this.#loadAtStart,
      loop,
      stolen,
      verdict: worst < 0.1 ? "quiet" : worst < 0.5 ? "noisy" : "very noisy"
    }
  }
}

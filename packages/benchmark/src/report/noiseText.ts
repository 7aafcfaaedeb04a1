import type { Noise } from "../measure/Noise.ts"
import { spread } from "../measure/Statistics.ts"
import { number, percent } from "./Table.ts"

/** Describes the machine and its noise. */
export const machine = (noise: Noise): string =>
  `machine: ${noise.cores} × ${noise.cpuModel}, load ${noise.loadAtStart.toFixed(1)} at the start; ${noise.verdict}: ` +
  `the calibration loop took ${number(noise.loop.median)} ms ±${percent(spread(noise.loop))}, and waited for ` +
  `${percent(noise.stolen)} of that`

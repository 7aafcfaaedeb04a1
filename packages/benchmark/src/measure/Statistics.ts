/** Medians and spreads of a few samples. */

/** A quantity that was measured several times. */
export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** The value below which a share `p` of the sorted values lies. */
export const percentile = (values: ReadonlyArray<number>, p: number): number => {
  const sorted = [...values].sort((one, other) => one - other)
  const position = (sorted.length - 1) * p
  const below = sorted[Math.floor(position)] ?? Number.NaN
  const above = sorted[Math.ceil(position)] ?? Number.NaN
  return below + (above - below) * (position - Math.floor(position))
}

/** The median with the smallest and the largest. */
export const summarize = (values: ReadonlyArray<number>): Summary => ({
  median: percentile(values, 0.5),
  min: Math.min(...values),
  max: Math.max(...values)
})

/** Half of the range between smallest and largest, as a share of the median: `0.05` is written ±5 %. */
export const spread = ({ max, median, min }: Summary): number => (max - min) / 2 / median

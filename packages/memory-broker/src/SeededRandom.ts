/**
 * Random numbers that a seed decides, so that the broker's choices and fault plans can be replayed.
 *
 * @since 0.1.0
 */

/**
 * Makes a generator of numbers from 0 to below 1 (mulberry32).
 *
 * @category constructors
 * @since 0.1.0
 */
export const seeded = (seed: number): () => number => {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

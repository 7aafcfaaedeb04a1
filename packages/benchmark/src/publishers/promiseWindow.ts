import type { Timeline } from "./Publisher.ts"

/** Keeps a window of promises pending. Each is a publish that resolves with its confirm. */
export const promiseWindow = async (
  count: number,
  inFlight: number,
  publish: () => Promise<unknown>,
  timeline: Timeline | undefined
): Promise<void> => {
  let next = 0
  const lane = async () => {
    while (next < count) {
      const index = next++
      timeline?.written(index)
      await publish()
      timeline?.confirmed(index)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, lane))
}

import type { Timeline } from "./Publisher.ts"

/**
 * Keeps a window of publishes unconfirmed with one callback for all of them, the cheapest way. Confirms are assumed to
 * come in the order of their publishes, which matters to the timeline only.
 */
export const callbackWindow = (
  count: number,
  inFlight: number,
  publish: (onConfirm: (error?: unknown) => void) => void,
  timeline: Timeline | undefined
): Promise<void> =>
  new Promise((resolve, reject) => {
    let written = 0
    let confirmed = 0
    const next = () => {
      timeline?.written(written)
      written++
      publish(onConfirm)
    }
    const onConfirm = (error?: unknown) => {
      if (error !== undefined && error !== null) return reject(error)
      timeline?.confirmed(confirmed)
      confirmed++
      if (written < count) next()
      else if (confirmed === count) resolve()
    }
    while (written < Math.min(count, inFlight)) next()
  })

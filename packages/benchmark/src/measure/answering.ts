/**
 * The other end of a `TrialProcess`: answers each question of the benchmark with one message, until the benchmark hangs
 * up.
 */
export const answerTo = <Request>(answer: (request: Request) => Promise<unknown>): void => {
  process.on("message", (request: Request) => {
    answer(request).then(
      (value) => process.send!({ value }),
      (error: unknown) => process.send!({ error: error instanceof Error ? error.stack : String(error) })
    )
  })
  process.on("disconnect", () => process.exit(0))
}

/** The largest resident size of this process so far, in bytes. */
export const peakBytes = (): number => process.resourceUsage().maxRSS * 1024

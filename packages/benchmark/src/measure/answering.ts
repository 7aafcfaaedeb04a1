/** The other end of a `TrialProcess`: answers what the benchmark asks, one message for each, until it hangs up. */
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

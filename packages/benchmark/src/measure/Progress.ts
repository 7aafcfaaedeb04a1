/** Shows the progress of a run as one line on standard error, which a terminal overwrites. */
export interface Progress {
  readonly step: (what: string) => void
  readonly done: () => void
}

/** Counts up to so many steps. */
export const make = (title: string, steps: number): Progress => {
  const start = performance.now()
  const terminal = process.stderr.isTTY
  let taken = 0
  return {
    step(what) {
      taken++
      const line = `${title}: ${taken} of ${steps}, ${what}`
      if (terminal) process.stderr.write(`\r\x1b[2K${line.slice(0, (process.stderr.columns ?? 80) - 1)}`)
      else if (taken % 10 === 0) process.stderr.write(`${line}\n`)
    },
    done() {
      process.stderr.write(
        `${terminal ? "\r\x1b[2K" : ""}${title}: done in ${((performance.now() - start) / 1000).toFixed(1)} s\n`
      )
    }
  }
}

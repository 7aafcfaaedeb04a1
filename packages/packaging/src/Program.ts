/**
 * Runs a program on the embedded broker, and sees whether it does what is expected of it.
 */
import * as Patience from "effect-amqp-test-rig/Patience"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import type { Expectation } from "./Example.ts"

/** How to start it. */
export interface Launch {
  /** The program and its arguments. */
  readonly command: readonly [string, ...ReadonlyArray<string>]
  readonly directory: string
}

/** What it did. */
export interface Outcome {
  readonly output: string
  readonly code: number | null
  /** What is not as it was expected; none if all is well. */
  readonly problems: ReadonlyArray<string>
}

/** Starts a program, waits for what it is to say, ends it where it does not end by itself, and gives what it did. */
export const run = (launch: Launch, expected: Expectation): Effect.Effect<Outcome> =>
  Effect.callback<Outcome>((resume) => {
    const [program, ...args] = launch.command
    const child = spawn(program, args, {
      cwd: launch.directory,
      env: {
        ...process.env,
        // Not those of the run of tests around it.
        AMQP_URL: undefined,
        NODE_OPTIONS: undefined,
        PORT: "0",
        EMBEDDED_FEED: expected.feed && JSON.stringify(expected.feed)
      },
      stdio: ["ignore", "pipe", "pipe"]
    })
    const problems: Array<string> = []
    let output = ""
    let wasAsked = false

    const hear = (chunk: Buffer) => {
      output += chunk.toString()
      if (wasAsked || !output.includes(expected.says)) return
      wasAsked = true
      ask(expected, output).then((problem) => {
        if (problem !== undefined) problems.push(problem)
        if (expected.endsOnSigterm !== undefined) child.kill("SIGTERM")
      })
    }
    child.stdout.on("data", hear)
    child.stderr.on("data", hear)
    child.once("error", (cause) => {
      resume(Effect.succeed({ output, code: null, problems: [`it does not start: ${cause.message}`] }))
    })
    child.once("close", (code) => {
      if (!wasAsked) problems.push(`it did not say "${expected.says}"`)
      const expectedCode = expected.endsOnSigterm ?? 0
      if (code !== expectedCode) problems.push(`it ended with ${code} instead of ${expectedCode}`)
      resume(Effect.succeed({ output, code, problems }))
    })
    return Effect.sync(() => {
      child.kill("SIGKILL")
    })
  }).pipe(Patience.within(`${launch.command.join(" ")} says "${expected.says}" and ends`))

const ask = async (expected: Expectation, output: string): Promise<string | undefined> => {
  if (expected.answers === undefined) return undefined
  const port = /"port":(\d+)/.exec(output)?.[1]
  const answer = await fetch(`http://127.0.0.1:${port}/`).then((response) => response.text(), String)
  return answer.includes(expected.answers) ? undefined : `it answered "${answer}"`
}

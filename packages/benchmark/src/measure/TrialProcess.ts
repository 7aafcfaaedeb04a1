/**
 * A child process that answers questions: each contender has one, so that its CPU time and its memory are its own.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ChildProcess } from "node:child_process"
import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"

/** A trial process did not answer. */
export class TrialFailed extends Data.TaggedError("TrialFailed")<{ readonly message: string }> {}

/** How to start a trial process. */
export interface Options {
  /** The module that it runs. */
  readonly script: URL
  /** Where to write a CPU profile when the process ends, if wanted. */
  readonly profileInto?: string | undefined
  readonly profileName?: string | undefined
}

/** A child process that answers what it is asked, one question at a time. */
export interface TrialProcess {
  readonly ask: (question: object) => Effect.Effect<unknown, TrialFailed>
  /** The first message of the process. */
  readonly greeting: Effect.Effect<unknown, TrialFailed>
}

const endMillis = 3000

const answerTimeout = "1 minute"

// Without this cache a process that runs TypeScript would carry the compiler, 20 MB of its peak memory.
const compileCache = fileURLToPath(new URL("../../node_modules/.cache/compiled", import.meta.url))

/** Starts a process that ends with the scope. */
export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<TrialProcess, never, Scope.Scope> {
  const profile = options.profileInto === undefined ? [] : [
    "--cpu-prof",
    `--cpu-prof-dir=${options.profileInto}`,
    ...(options.profileName === undefined ? [] : [`--cpu-prof-name=${options.profileName}.cpuprofile`])
  ]
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      fork(fileURLToPath(options.script), [], {
        execArgv: profile,
        env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
        stdio: ["ignore", "inherit", "inherit", "ipc"]
      })
    ),
    end
  )
  const nextMessage = Effect.callback<unknown, TrialFailed>((resume) => {
    const onMessage = (message: unknown) => {
      child.off("exit", onExit)
      resume(Effect.succeed(message))
    }
    const onExit = () => {
      child.off("message", onMessage)
      resume(Effect.fail(new TrialFailed({ message: "the process of the trial ended" })))
    }
    child.once("message", onMessage)
    child.once("exit", onExit)
    if (child.exitCode !== null) onExit()
    return Effect.sync(() => {
      child.off("message", onMessage)
      child.off("exit", onExit)
    })
  })

  return {
    greeting: nextMessage,
    ask: (question) =>
      Effect.suspend(() => {
        if (child.connected) child.send(question)
        return nextMessage
      }).pipe(
        Effect.timeoutOrElse({
          duration: answerTimeout,
          orElse: () => Effect.fail(new TrialFailed({ message: `no answer within ${answerTimeout}` }))
        }),
        Effect.flatMap((answer) => {
          const { error, value } = answer as { readonly value?: unknown; readonly error?: string }
          return error === undefined ? Effect.succeed(value) : Effect.fail(new TrialFailed({ message: error }))
        })
      )
  }
})

const end = (child: ChildProcess): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
    // The process leaves when the channel is closed, which lets it write a profile.
    if (child.connected) child.disconnect()
  }).pipe(
    Effect.timeoutOption(endMillis),
    Effect.andThen(Effect.sync(() => void child.kill("SIGKILL")))
  )

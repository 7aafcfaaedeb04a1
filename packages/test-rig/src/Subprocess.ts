/**
 * Runs programs to their end without ever blocking the event loop: a client under test shares it, and would see faults
 * late if a synchronous call held it.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import * as Patience from "./Patience.ts"

/**
 * A program did not start, ran too long, or ended with another code than 0.
 */
export class SubprocessError extends Data.TaggedError("SubprocessError")<{
  readonly message: string
  readonly cause?: unknown
}> {}

/**
 * A program with its arguments.
 */
export interface Command {
  readonly program: string
  readonly args: ReadonlyArray<string>
}

/**
 * How to run a program: `directory` is where, `environment` replaces the whole of the environment, `input` is its
 * standard input.
 */
export interface Options {
  readonly directory?: string | undefined
  readonly environment?: NodeJS.ProcessEnv | undefined
  readonly input?: string | undefined
  readonly timeout?: Duration.Input | undefined
}

/**
 * Runs a program and returns its standard output.
 */
export const run = Effect.fnUntraced(function*(
  command: Command,
  options: Options = {}
): Effect.fn.Return<string, SubprocessError> {
  const timeout = Duration.fromInputUnsafe(options.timeout ?? Patience.limit)
  return yield* collectOutput(command, options).pipe(
    Effect.timeoutOrElse({
      duration: timeout,
      orElse: () =>
        Effect.fail(new SubprocessError({ message: `${render(command)} took longer than ${Duration.format(timeout)}` }))
    })
  )
})

const collectOutput = (command: Command, options: Options): Effect.Effect<string, SubprocessError> =>
  Effect.callback<string, SubprocessError>((resume) => {
    const child = spawn(command.program, command.args, {
      stdio: ["pipe", "pipe", "pipe"],
      cwd: options.directory,
      ...(options.environment === undefined ? {} : { env: options.environment })
    })
    const output: Array<Buffer> = []
    const complaints: Array<Buffer> = []
    child.stdout.on("data", (chunk: Buffer) => output.push(chunk))
    child.stderr.on("data", (chunk: Buffer) => complaints.push(chunk))
    // A program that ends before it has read its input breaks the pipe. Its exit code says more than the broken pipe.
    child.stdin.on("error", () => {})
    child.on(
      "error",
      (cause) => resume(Effect.fail(new SubprocessError({ message: `${render(command)} could not be started`, cause })))
    )
    child.on("close", (code, signal) =>
      resume(
        code === 0
          ? Effect.succeed(Buffer.concat(output).toString())
          : Effect.fail(
            new SubprocessError({
              message: `${render(command)} ended with ${signal ?? `code ${code}`}: ${
                lastLines(Buffer.concat([...complaints, ...output]).toString())
              }`
            })
          )
      ))
    child.stdin.end(options.input ?? "")
    return Effect.sync(() => {
      child.kill("SIGKILL")
    })
  })

const render = (command: Command): string => [command.program, ...command.args].join(" ").slice(0, 200)

const lastLines = (text: string): string => text.trim().split("\n").slice(-8).join("\n")

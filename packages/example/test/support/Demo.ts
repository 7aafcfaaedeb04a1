/**
 * The real command lines as child processes, their output piped.
 */
import { NodeServices } from "@effect/platform-node"
import { Effect, Fiber, Stream } from "effect"
import * as Patience from "effect-amqp-test-rig/Patience"
import { ChildProcess } from "effect/process"
import { createRequire } from "node:module"
import { resolve } from "node:path"

/** How a run of the command line ended. */
export interface Ending {
  readonly exitCode: number
  readonly stdout: ReadonlyArray<string>
  readonly stderr: string
  readonly lastLine: string | undefined
}

// Not tsx's own command: it kills a program that has not heard a signal within 60 milliseconds.
const tsx = ["--import", createRequire(import.meta.url).resolve("tsx")]
const directory = resolve(import.meta.dirname, "../..")

/** The source files that can be run. */
export type Program =
  | "main.ts"
  | "consume.ts"
  | "shop.ts"
  | "redrive.ts"
  | "rpc.ts"
  | "partitions.ts"
  | "../test/support/launched.ts"

/** Run it with `head -1` behind it, which reads one line and goes. */
export const firstLine = Effect.fnUntraced(
  function*(args: ReadonlyArray<string>, program: Program) {
    const command = [process.execPath, ...tsx, `src/${program}`, ...args].map((word) => `'${word}'`).join(" ")
    const child = yield* ChildProcess.make("sh", ["-c", `{ ${command}; echo $? >&3; } | head -1`], {
      cwd: directory,
      env: { PATH: process.env["PATH"] },
      extendEnv: false,
      stdin: "ignore",
      additionalFds: { fd3: { type: "output" } }
    })
    const collect = <E>(bytes: Stream.Stream<Uint8Array, E>) => Stream.mkString(Stream.decodeText(bytes))
    const [stdout, stderr, exitCode] = yield* Effect.all(
      [collect(child.stdout), collect(child.stderr), collect(child.getOutputFd(3))],
      { concurrency: "unbounded" }
    ).pipe(Patience.within("the command line ends"))
    return { exitCode: Number(exitCode), stderr, stdout: stdout.split("\n").filter((line) => line !== "") }
  },
  Effect.scoped,
  Effect.provide(NodeServices.layer)
)

/** Start it with these arguments, and with no more of the environment than this. It ends with the scope. */
export const start = Effect.fnUntraced(function*(
  args: ReadonlyArray<string>,
  environment: Readonly<Record<string, string>> = {},
  program: Program = "main.ts"
) {
  const child = yield* ChildProcess.make(process.execPath, [...tsx, `src/${program}`, ...args], {
    cwd: directory,
    env: environment,
    extendEnv: false,
    stdin: "ignore",
    forceKillAfter: "5 seconds"
  })
  const stdout: Array<string> = []
  const reading = yield* child.stdout.pipe(
    Stream.decodeText,
    Stream.splitLines,
    Stream.runForEach((line) => Effect.sync(() => stdout.push(line))),
    Effect.forkScoped
  )
  const complaining = yield* Effect.forkScoped(Stream.mkString(Stream.decodeText(child.stderr)))

  return {
    /** Send a signal, as Ctrl-C does, to the whole of the process group. */
    signal: (killSignal: "SIGINT" | "SIGTERM") => child.kill({ killSignal }),
    /** Wait until a line of its output contains this. */
    shows: (text: string) =>
      Patience.until(
        `the command line shows "${text}"`,
        Effect.sync(() => stdout.some((line) => line.includes(text)))
      ),
    ending: Effect.gen(function*(): Effect.fn.Return<Ending, unknown> {
      const exitCode = yield* child.exitCode.pipe(Patience.within("the command line ends"))
      yield* Fiber.join(reading)
      return { exitCode, stdout, stderr: yield* Fiber.join(complaining), lastLine: stdout.at(-1) }
    })
  }
}, Effect.provide(NodeServices.layer))

/** Run it to its end. */
export const run = Effect.fnUntraced(function*(
  args: ReadonlyArray<string>,
  environment?: Readonly<Record<string, string>>,
  program?: Program
) {
  const demo = yield* start(args, environment, program)
  return yield* demo.ending
}, Effect.scoped)

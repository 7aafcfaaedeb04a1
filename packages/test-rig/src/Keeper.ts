/**
 * Ends everything with its test: processes, containers and a directory are entrusted to a small shell process that
 * removes them when its standard input is closed. The end of the scope closes that input, and so does any death of the
 * test process, SIGKILL included, which no exit handler inside the test process could promise.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ChildProcess } from "node:child_process"
import { spawn } from "node:child_process"
import { mkdtemp } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { RabbitMqError } from "./RabbitMqError.ts"

/**
 * A fresh directory and its processes, removed together.
 */
export interface Keeper {
  readonly directory: string
  /** Entrusts a process, and tells when it has ended. Call it in the tick that started the process. */
  readonly watch: (child: ChildProcess) => Promise<void>
  /** Entrusts a Docker container. */
  readonly watchContainer: (name: string) => void
}

/**
 * Makes a directory that vanishes with the scope, and with it all processes entrusted meanwhile.
 */
export const make: Effect.Effect<Keeper, RabbitMqError, Scope.Scope> = Effect.acquireRelease(
  Effect.tryPromise({
    try: async () => {
      const directory = await mkdtemp(join(tmpdir(), "effect-amqp-rig-"))
      const child = spawn("sh", [script, directory], { detached: true, stdio: ["pipe", "ignore", "ignore"] })
      const ended = new Promise<void>((resolve, reject) => {
        child.once("exit", () => resolve())
        child.once("error", reject)
      })
      ended.catch(() => {})
      child.stdin.on("error", () => {})
      child.unref()
      const tell = (line: string) => {
        child.stdin.write(`${line}\n`)
      }
      const watched = new Set<Promise<void>>()
      const keeper: Keeper = {
        directory,
        watch: (process) => {
          const { pid } = process
          if (pid === undefined) {
            return new Promise((resolve) => process.once("error", () => resolve()))
          }
          tell(`watch ${pid}`)
          const processEnded = new Promise<void>((resolve) => {
            process.once("exit", () => {
              watched.delete(processEnded)
              // The process id may belong to another process from now on.
              tell(`forget ${pid}`)
              resolve()
            })
          })
          watched.add(processEnded)
          return processEnded
        },
        watchContainer: (name) => tell(`container ${name}`)
      }
      return { keeper, child, ended, watched }
    },
    catch: (cause) => new RabbitMqError({ message: "The keeper of a node's processes could not be started", cause })
  }),
  ({ child, ended, watched }) =>
    Effect.promise(async () => {
      child.ref()
      child.stdin.end()
      await ended.catch(() => {})
      // A killed node keeps its sockets for a moment longer.
      await Promise.all(watched)
    }).pipe(Effect.timeoutOption("20 seconds"))
).pipe(Effect.map(({ keeper }) => keeper))

const script = fileURLToPath(new URL("../scripts/keep.sh", import.meta.url))

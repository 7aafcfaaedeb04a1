/**
 * Makes sure that nothing outlives a test: processes, containers and a directory are entrusted to a small shell process
 * that removes them when its standard input is closed. The end of the scope closes it, and so does any death of the
 * test process, SIGKILL included, which no exit handler inside that process could promise.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { mkdtemp } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { RabbitMqError } from "./RabbitMqError.ts"

/**
 * A fresh directory and whatever processes live in it, removed together.
 */
export interface Keeper {
  readonly directory: string
  /** Entrusts a process. Call it in the tick that started the process. */
  readonly watch: (pid: number) => void
  /** Takes a process back that has ended, before its number is given to another one. */
  readonly forget: (pid: number) => void
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
      const keeper: Keeper = {
        directory,
        watch: (pid) => tell(`watch ${pid}`),
        forget: (pid) => tell(`forget ${pid}`),
        watchContainer: (name) => tell(`container ${name}`)
      }
      return { keeper, child, ended }
    },
    catch: (cause) => new RabbitMqError({ message: "The keeper of a node's processes could not be started", cause })
  }),
  ({ child, ended }) =>
    Effect.promise(() => {
      child.ref()
      child.stdin.end()
      return ended.catch(() => {})
    }).pipe(Effect.timeoutOption("20 seconds"))
).pipe(Effect.map(({ keeper }) => keeper))

const script = fileURLToPath(new URL("../scripts/keep.sh", import.meta.url))

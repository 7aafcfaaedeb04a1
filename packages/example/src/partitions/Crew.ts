/**
 * Where workers come from: processes before a RabbitMQ, or layers of this process on the embedded broker.
 */
import { Effect, Exit, Layer, Redacted, Scope, Stream } from "effect"
import { AmqpConnection } from "effect-amqp"
import { AmqpMemory } from "effect-amqp-memory"
import { ChildProcess } from "effect/process"
import { fileURLToPath } from "node:url"
import * as Worker from "./Worker.ts"

/** Whoever hears what workers tell. */
export type Hear = (name: string, told: Worker.Told) => void

/** A worker that is at work. */
export interface Hired {
  readonly name: string
  /** Ends it as the worst end does: kill -9 for a process, the loss of its connection in this one. */
  readonly kill: Effect.Effect<void>
}

const parse = (line: string): Worker.Told | undefined => {
  const [tag, at, partition, id] = line.split(" ")
  if (at === undefined || partition === undefined) return undefined
  const told = { at: BigInt(at), partition: Number(partition) }
  if (tag === "Handled") return { _tag: tag, ...told, id: id ?? "" }
  return tag === "Assigned" || tag === "Revoked" ? { _tag: tag, ...told } : undefined
}

/** Starts a process for each worker, which ends with the scope. */
export const processes = (url: Redacted.Redacted, hear: Hear) =>
  Effect.fnUntraced(function*(name: string) {
    const child = yield* ChildProcess.make(
      process.execPath,
      [...process.execArgv, fileURLToPath(new URL("process.ts", import.meta.url)), name],
      {
        env: { AMQP_URL: Redacted.value(url) },
        extendEnv: true,
        stdin: "ignore",
        stderr: "inherit",
        forceKillAfter: "5 seconds"
      }
    )
    yield* child.stdout.pipe(
      Stream.decodeText,
      Stream.splitLines,
      Stream.runForEach((line) =>
        Effect.sync(() => {
          const told = parse(line)
          if (told !== undefined) hear(name, told)
        })
      ),
      Effect.ignore,
      Effect.forkScoped
    )
    const hired: Hired = { name, kill: Effect.ignore(child.kill({ killSignal: "SIGKILL" })) }
    return hired
  })

/** Starts workers in this process. */
export const layers = (hear: Hear) =>
  Effect.fnUntraced(function*(name: string) {
    const broker = yield* AmqpMemory.AmqpMemory
    const scope = yield* Scope.fork(yield* Effect.scope)
    let isDead = false
    yield* Layer.buildWithScope(
      Worker.layer(name, (told) => {
        if (!isDead) hear(name, told)
      }).pipe(Layer.provide(Layer.fresh(AmqpConnection.layer({ connectionName: name, sessions: "shared" })))),
      scope
    )
    const hired: Hired = {
      name,
      kill: Effect.suspend(() => {
        isDead = true
        return Effect.andThen(broker.cutConnection(name), Scope.close(scope, Exit.void))
      })
    }
    return hired
  })

/**
 * Writes the AsyncAPI document of the shop beside the package's sources.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, FileSystem, Path } from "effect"
import { document } from "./shop/Contracts.ts"

Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const file = path.resolve(import.meta.dirname, "../asyncapi.json")
  yield* files.writeFileString(file, `${JSON.stringify(document, null, 2)}\n`)
  yield* Console.log(`wrote ${path.relative(process.cwd(), file)}`)
}).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)

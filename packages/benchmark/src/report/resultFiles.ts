import * as Effect from "effect/Effect"
import { mkdir, writeFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"

const directory = new URL("../../results/", import.meta.url)

/** Writes files into the results of this package, and give their paths. */
export const writeResults = (
  files: { readonly [name: string]: string }
): Effect.Effect<ReadonlyArray<string>> =>
  Effect.promise(async () => {
    await mkdir(directory, { recursive: true })
    return Promise.all(
      Object.entries(files).map(async ([name, content]) => {
        const path = fileURLToPath(new URL(name, directory))
        await writeFile(path, content)
        return path
      })
    )
  })

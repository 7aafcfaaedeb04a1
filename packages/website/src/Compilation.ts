/**
 * Programs that are written into a folder of this package, so that what they import is found, and compiled in one go.
 */
import { execFile } from "node:child_process"
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import path from "node:path"
import { promisify } from "node:util"
import { website, workspace } from "./Site.ts"

/** Names a folder for programs. */
export const folderFor = (name: string): string => path.join(website, "dist", name)

/** Writes programs by their paths in the folder, and how they are compiled. What else the folder has goes. */
export const write = (folder: string, programs: ReadonlyMap<string, string>): void => {
  mkdirSync(folder, { recursive: true })
  for (const [file, code] of programs) {
    mkdirSync(path.dirname(path.join(folder, file)), { recursive: true })
    writeFileSync(path.join(folder, file), code)
  }
  for (const file of readdirSync(folder, { encoding: "utf8", recursive: true })) {
    if (file.endsWith(".ts") && !programs.has(file)) rmSync(path.join(folder, file))
  }
  const config = {
    extends: path.relative(folder, path.join(workspace, "tsconfig.base.json")),
    include: ["."],
    exclude: [],
    compilerOptions: {
      composite: false,
      incremental: false,
      declaration: false,
      declarationMap: false,
      experimentalDecorators: true,
      emitDecoratorMetadata: true,
      noEmit: true
    }
  }
  writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify(config))
}

/** What the compiler finds wrong, line by line; a file is named by its path from the folder. */
export const compile = async (folder: string): Promise<ReadonlyArray<string>> => {
  const tsc = path.join(workspace, "node_modules/typescript/bin/tsc")
  const { stdout } = await promisify(execFile)(process.execPath, [tsc, "-p", "."], {
    cwd: folder,
    maxBuffer: 16 * 1024 * 1024
  }).catch((failed: { readonly stdout: string }) => failed)
  return stdout.split("\n").filter((line) => line !== "")
}

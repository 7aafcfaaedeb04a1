/**
 * A project of somebody who has just heard of the packages: it installs their tarballs, and has nothing of this
 * workspace.
 */
import * as Subprocess from "effect-amqp-test-rig/Subprocess"
import * as Effect from "effect/Effect"
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import path from "node:path"
import * as Example from "./Example.ts"
import type { Published } from "./Published.ts"
import { workspace } from "./Published.ts"

/** Who installs. */
export type Manager = "npm" | "pnpm"

const rootManifest: { readonly devDependencies: Readonly<Record<string, string>> } = JSON.parse(
  readFileSync(path.join(workspace, "package.json"), "utf8")
)
const exampleManifest: { readonly dependencies: Readonly<Record<string, string>> } = JSON.parse(
  readFileSync(path.join(workspace, "packages/example/package.json"), "utf8")
)
const amqpManifest: { readonly devDependencies: Readonly<Record<string, string>> } = JSON.parse(
  readFileSync(path.join(workspace, "packages/amqp/package.json"), "utf8")
)

/** What the commands of the README install: to run, and to test. */
const needed = {
  effect: rootManifest.devDependencies["effect"]!,
  "@effect/platform-node": exampleManifest.dependencies["@effect/platform-node"]!
}
const neededToDevelop = {
  "@effect/vitest": rootManifest.devDependencies["@effect/vitest"]!,
  "@types/node": rootManifest.devDependencies["@types/node"]!,
  esbuild: amqpManifest.devDependencies["esbuild"]!,
  typescript: rootManifest.devDependencies["typescript"]!,
  vitest: rootManifest.devDependencies["vitest"]!
}

/** The program that runs another on the embedded broker, by the name of that. */
export const wrapped = (name: string): string => `embedded.${name}`

/** Makes a project with all examples in it, and installs what it needs. */
export const make = Effect.fnUntraced(function*(
  manager: Manager,
  folder: string,
  tarballs: ReadonlyArray<{ readonly published: Published; readonly file: string }>,
  { toDevelop }: { readonly toDevelop: boolean }
) {
  mkdirSync(folder)
  const packed = Object.fromEntries(tarballs.map(({ file, published }) => [published.manifest.name, `file:${file}`]))
  const manifest = {
    name: "fresh",
    private: true,
    type: "module",
    dependencies: { ...packed, ...needed },
    devDependencies: toDevelop ? neededToDevelop : {}
  }
  writeFileSync(path.join(folder, "package.json"), JSON.stringify(manifest, null, 2))
  copyFileSync(path.join(workspace, "packages/packaging/src/embedded.mjs"), path.join(folder, "embedded.mjs"))
  for (const { name, text } of Example.all) {
    writeFileSync(path.join(folder, name), text)
    // An import of its own, because Bun, Deno and Node have each another flag for what to load first.
    writeFileSync(path.join(folder, wrapped(name)), `import "./embedded.mjs"\nimport "./${name}"\n`)
  }
  yield* Subprocess.run(
    manager === "npm"
      ? { program: "npm", args: ["install", "--no-audit", "--no-fund", "--prefer-offline"] }
      : { program: "npx", args: ["-y", "pnpm@12", "install", "--prefer-offline", "--ignore-workspace"] },
    // What pnpm tells the scripts that it runs would be taken for settings.
    { directory: folder, environment: environment(), timeout: "4 minutes" }
  )
  return folder
})

/** The environment of somebody who runs no script of this workspace. */
const environment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(process.env).filter(([name]) =>
      !/^(npm_(lifecycle|package|execpath|command|node_execpath|config_(user_agent|verify_deps|node_version))|pnpm_|INIT_CWD|CI$)/i
        .test(name)
    )
  )

/** Installs one program from npm, and gives the path of it: a runtime that this machine does not have. */
export const install = Effect.fnUntraced(function*(name: string, version: string, folder: string) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, "package.json"), `{ "private": true, "dependencies": { "${name}": "${version}" } }`)
  yield* Subprocess.run(
    { program: "npm", args: ["install", "--no-audit", "--no-fund", "--prefer-offline"] },
    { directory: folder, environment: environment(), timeout: "4 minutes" }
  )
  const program = path.join(folder, "node_modules/.bin", name)
  const answer = yield* Subprocess.run({ program, args: ["--version"] })
  return { program, version: answer.split("\n")[0]!.trim() }
})

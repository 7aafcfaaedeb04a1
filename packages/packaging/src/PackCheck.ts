/**
 * Whether a package works for those who install it, as far as its tarball shows.
 */
import * as Subprocess from "effect-amqp-test-rig/Subprocess"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import path from "node:path"
import { publint } from "publint"
import { formatMessage } from "publint/utils"
import type { Manifest, Published } from "./Published.ts"
import { modulesOf, pack } from "./Published.ts"
import type { Tarball } from "./Tarball.ts"
import * as TarballFile from "./Tarball.ts"

/** What was found. */
export interface Report {
  readonly name: string
  readonly version: string
  readonly tarball: Tarball
  readonly problems: ReadonlyArray<string>
}

/**
 * No tarball may be larger, so that nothing big comes along unnoticed: it is about twice what the larger one has.
 */
const largestTarball = 1_000_000

/** Packs a package into a folder, and checks the tarball. */
export const check = Effect.fnUntraced(function*(published: Published, destination: string) {
  const file = yield* pack(published, destination)
  const tarball = TarballFile.read(file)
  const manifest: Manifest = JSON.parse(text(tarball, "package.json"))
  const problems = [
    ...contentProblems(published, tarball),
    ...manifestProblems(manifest, tarball),
    ...(yield* publintProblems(file, manifest)),
    ...(yield* typeProblems(file, published))
  ]
  return { name: manifest.name, version: manifest.version, tarball, problems } satisfies Report
})

const text = (tarball: Tarball, name: string): string => new TextDecoder().decode(tarball.files.get(name))

const contentProblems = (published: Published, { files, packedBytes }: Tarball): ReadonlyArray<string> => {
  const needed = [
    "package.json",
    "README.md",
    "LICENSE",
    ...["index", ...modulesOf(published)].flatMap((module) => [
      `src/${module}.ts`,
      `dist/${module}.js`,
      `dist/${module}.js.map`,
      `dist/${module}.d.ts`,
      `dist/${module}.d.ts.map`
    ])
  ]
  const known = /^(package\.json|README\.md|LICENSE|AGENTS\.md|(src|examples)\/.+\.ts|dist\/.+\.(js|d\.ts)(\.map)?)$/
  return [
    ...needed.filter((name) => !files.has(name)).map((name) => `${name} is missing`),
    ...[...files.keys()].filter((name) => !known.test(name)).map((name) => `${name} does not belong there`),
    ...[...files.keys()].filter((name) =>
      /^dist\/.*\.js$/.test(name) && !files.has(name.replace(/^dist(.*)js$/, "src$1ts"))
    ).map((name) => `${name} has no source: dist is not fresh`),
    ...(packedBytes > largestTarball ? [`it has ${packedBytes} bytes, more than ${largestTarball}`] : [])
  ]
}

const manifestProblems = (manifest: Manifest, { files }: Tarball): ReadonlyArray<string> => {
  const targets = Object.entries(manifest.exports ?? {}).filter(([, target]) => target !== null)
  const versions = Object.entries({ ...manifest.dependencies, ...manifest.peerDependencies })
  return [
    ...targets.filter(([, target]) => !target!.includes("*") && !files.has(target!.replace("./", "")))
      .map(([name, target]) => `exports["${name}"] names ${target}, which is not there`),
    ...targets.filter(([, target]) => target!.startsWith("./src"))
      .map(([name, target]) => `exports["${name}"] names ${target}, a source`),
    ...versions.filter(([, version]) => version.startsWith("workspace:"))
      .map(([name, version]) => `it needs ${name} in version "${version}", which nobody outside of the workspace has`)
  ]
}

const publintProblems = Effect.fnUntraced(function*(file: string, manifest: Manifest) {
  const bytes = readFileSync(file)
  const tarball = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
  const { messages } = yield* Effect.promise(() => publint({ pack: { tarball }, strict: true }))
  return messages.map((message) =>
    `publint, ${message.type}: ${formatMessage(message, { ...manifest }, { color: false }) ?? message.code}`
  )
})

/**
 * Types as TypeScript finds them from ESM under node16 and under bundler. From CommonJS it finds ESM, which is right:
 * Node loads it by `require`.
 */
const typeProblems = Effect.fnUntraced(function*(file: string, published: Published) {
  const attw = path.join(
    path.dirname(createRequire(import.meta.url).resolve("@arethetypeswrong/cli/package.json")),
    "dist/index.js"
  )
  const answer = yield* Effect.result(Subprocess.run({
    program: process.execPath,
    args: [
      attw,
      file,
      "--profile",
      "esm-only",
      "--format",
      "ascii",
      "--no-emoji",
      "--no-color",
      "--no-definitely-typed",
      "--include-entrypoints",
      ...modulesOf(published)
    ]
  }))
  return answer._tag === "Failure" ? [`arethetypeswrong: ${answer.failure.message}`] : []
})

const kibibytes = (bytes: number): string => `${Math.ceil(bytes / 1024).toLocaleString("en")} KiB`

/** The report in lines: the size, the contents by folder, and what is wrong. */
export const render = ({ name, problems, tarball, version }: Report): string => {
  const folders = new Map<string, { files: number; bytes: number }>()
  for (const [file, content] of tarball.files) {
    const folder = file.includes("/") ? `${file.slice(0, file.indexOf("/"))}/` : file
    const sum = folders.get(folder) ?? { files: 0, bytes: 0 }
    folders.set(folder, { files: sum.files + 1, bytes: sum.bytes + content.length })
  }
  const unpacked = [...folders.values()].reduce((sum, { bytes }) => sum + bytes, 0)
  return [
    `${name} ${version}: ${kibibytes(tarball.packedBytes)} packed, ${kibibytes(unpacked)} unpacked, ` +
    `${tarball.files.size} files`,
    ...[...folders].sort().map(([folder, { bytes, files }]) =>
      `  ${folder.padEnd(14)} ${String(files).padStart(4)} ${kibibytes(bytes).padStart(10)}`
    ),
    ...(problems.length === 0
      ? ["  publint, arethetypeswrong and the contents: no problem"]
      : problems.map((problem) => `  PROBLEM: ${problem}`))
  ].join("\n")
}

/**
 * Builds a package before it is packed, and refuses every packer but pnpm. Only pnpm puts `publishConfig.exports` in the
 * place of `exports`, and versions in the place of `workspace:^`: what another packs names files that are not there.
 * Plain JavaScript, because whoever is refused may have an old Node.
 */
import { spawnSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { basename, join, relative } from "node:path"

const fail = (sentence) => {
  process.stderr.write(`${sentence}\n`)
  process.exit(1)
}

const { name } = JSON.parse(readFileSync("package.json", "utf8"))
const packer = basename(process.env["npm_execpath"] ?? "nobody").replace(/(-cli)?(\.[cm]?js)?$/, "")

if (!packer.startsWith("pnpm")) {
  fail(
    `${name} is not packed by ${packer}, which would publish paths into src and the version "workspace:^". ` +
      "In this folder, `npx pnpm@12 pack` packs it, and `npx pnpm@12 publish` publishes it."
  )
}

const filesOf = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath ?? entry.path, entry.name)))

const build = (...flags) => {
  const { status } = spawnSync("tsc", ["-b", "tsconfig.src.json", ...flags], { stdio: "inherit", shell: true })
  if (status !== 0) fail(`${name} is not packed: tsc ended with code ${status}.`)
}

// Only what is not up to date is written, so that whoever reads the declarations meanwhile never misses one.
const modules = filesOf("src").filter((file) => file.endsWith(".ts")).map((file) => file.slice(0, -".ts".length))
const outputs = new Set(modules.flatMap((file) => [".js", ".js.map", ".d.ts", ".d.ts.map"].map((end) => file + end)))
build()
if ([...outputs].some((file) => !existsSync(join("dist", file)))) build("--force")
for (const file of filesOf("dist")) if (!outputs.has(file) && !file.startsWith(".")) rmSync(join("dist", file))

/**
 * Builds a package before it is packed, and refuses every packer but pnpm. Only pnpm puts `publishConfig.exports` in the
 * place of `exports`, and versions in the place of `workspace:^`: what another packs names files that are not there.
 * Plain JavaScript, because whoever is refused may have an old Node.
 */
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync, rmSync } from "node:fs"
import { basename } from "node:path"

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

rmSync("dist", { recursive: true, force: true })
const { status } = spawnSync("tsc", ["-b", "tsconfig.src.json"], { stdio: "inherit", shell: true })
if (status !== 0) fail(`${name} is not packed: tsc ended with code ${status}.`)
if (!existsSync("dist/index.js")) fail(`${name} is not packed: tsc wrote no dist/index.js.`)

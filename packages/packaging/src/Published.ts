/**
 * The packages of the workspace that are published, and their tarballs.
 */
import * as Subprocess from "effect-amqp-test-rig/Subprocess"
import * as Effect from "effect/Effect"
import { readdirSync, readFileSync } from "node:fs"
import path from "node:path"
import { fileURLToPath } from "node:url"

/** The root of the repository. */
export const workspace = fileURLToPath(new URL("../../..", import.meta.url))

/** What a manifest says, as far as it is read here. */
export interface Manifest {
  readonly name: string
  readonly version: string
  readonly private?: boolean
  readonly description?: string
  readonly license?: string
  readonly author?: string
  readonly homepage?: string
  readonly bugs?: { readonly url: string }
  readonly repository?: { readonly type: string; readonly url: string; readonly directory?: string }
  readonly keywords?: ReadonlyArray<string>
  readonly engines?: { readonly node?: string }
  readonly exports?: Readonly<Record<string, string | null>>
  readonly files?: ReadonlyArray<string>
  readonly scripts?: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly publishConfig?: {
    readonly access?: string
    readonly provenance?: boolean
    readonly exports?: Readonly<Record<string, string | null>>
  }
}

/** A package that is published. */
export interface Published {
  /** From the root of the repository, such as `packages/amqp`. */
  readonly directory: string
  readonly folder: string
  readonly manifest: Manifest
}

/** Reads a manifest. */
export const manifestOf = (folder: string): Manifest =>
  JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8"))

/** Every package of the workspace that is not private, by name. */
export const all: ReadonlyArray<Published> = readdirSync(path.join(workspace, "packages"))
  .map((name) => {
    const folder = path.join(workspace, "packages", name)
    return { directory: `packages/${name}`, folder, manifest: manifestOf(folder) }
  })
  .filter(({ manifest }) => manifest.private !== true)
  .sort((one, other) => one.manifest.name.localeCompare(other.manifest.name))

/** The modules that a package shows beside its root, such as `AmqpConnection`. */
export const modulesOf = ({ folder }: Published): ReadonlyArray<string> =>
  readdirSync(path.join(folder, "src"))
    .filter((file) => file.endsWith(".ts") && file !== "index.ts")
    .map((file) => file.slice(0, -".ts".length))
    .sort()

/** Packs a package as it would be published, and gives the path of its tarball. */
export const pack = Effect.fnUntraced(function*({ folder, manifest }: Published, destination: string) {
  yield* Subprocess.run({
    program: "npx",
    args: ["-y", "pnpm@12", "--dir", folder, "pack", "--pack-destination", destination]
  })
  return path.join(destination, `${manifest.name}-${manifest.version}.tgz`)
})

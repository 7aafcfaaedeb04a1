/**
 * What the packages are tried with. docs/support.md says the same to those who use them.
 */
import { readFileSync } from "node:fs"
import path from "node:path"
import { all, manifestOf, workspace } from "./Published.ts"

const brokerScripts = manifestOf(path.join(workspace, "packages/memory-broker")).scripts!

/** The versions of RabbitMQ that `test:versions` runs the contract suite on. */
export const rabbitMq: ReadonlyArray<string> = /for version in ([^;]+);/.exec(brokerScripts["test:versions"]!)![1]!
  .split(" ")

/** The version of Node that this workspace brings along, and runs every test on: `24`. */
export const nodeOfWorkspace: string = JSON.parse(readFileSync(path.join(workspace, "package.json"), "utf8"))
  .devDependencies.node.split(".")[0]

/** Other versions of the runtimes, which the fresh projects take from npm. */
export const runtimes = { node: "22", bun: "1", deno: "2" } as const

/** The oldest Node that the manifests allow, such as `22.19`. */
export const oldestNode: string = /^>=(\d+\.\d+)/.exec(all[0]!.manifest.engines!.node!)![1]!

/** The version of effect that the manifests ask for, such as `4.1`. */
export const effect: string = /^\^(\d+\.\d+)/.exec(all[0]!.manifest.peerDependencies!["effect"]!)![1]!

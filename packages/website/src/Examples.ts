/**
 * The examples of the doc comments. One in a block stands alone, with what it imports. One beside its tag is a line of
 * a test, in which `broker` is the service of the embedded broker.
 */
import { readdirSync, readFileSync } from "node:fs"
import path from "node:path"
import * as Compilation from "./Compilation.ts"
import { packages } from "./Reference.ts"
import { workspace } from "./Site.ts"

/** An example, and where it stands. */
export interface Example {
  /** The module, from the root of the workspace. */
  readonly module: string
  /** The line of the module on which the code begins. */
  readonly line: number
  /** The export or the member that it explains. */
  readonly name: string
  readonly code: string
  /** Tells a line of a test from what stands alone. */
  readonly isLine: boolean
}

/** Names an example by file, line and export. */
export const placeOf = ({ line, module, name }: Example): string => `${module}:${line} ${name}`

const lineOf = (text: string, index: number): number => text.slice(0, index).split("\n").length

const explained = (after: string): string =>
  /^\s*(?:export (?:declare )?(?:abstract )?(?:class|const|function|interface|type) |readonly |static |override |get )*(\w+)/
    .exec(after)![1]!

const comments = /\/\*\*[^]*?\*\//g
const example = /@example(?: +(\S.*)$|\s*\n[ *]*```ts\n([^]*?)^[ *]*```$)?/gm

/** The examples of a module. Fails where `@example` has no code. */
export const examplesIn = (module: string, text: string): ReadonlyArray<Example> =>
  [...text.matchAll(comments)].flatMap(({ 0: comment, index: start }) =>
    [...comment.matchAll(example)].map((match): Example => {
      const [whole, statement, block] = match
      const begins = start + match.index + (block === undefined ? 0 : whole.indexOf("```ts\n") + "```ts\n".length)
      const line = lineOf(text, begins)
      const name = start === 0 ? "the module" : explained(text.slice(start + comment.length))
      const code = statement ?? block?.replace(/^ *\* ?/gm, "")
      if (statement?.startsWith("`") === true) {
        throw new Error(`${module}:${line} ${name}: @example has code as it is, without back quotes`)
      }
      if (code === undefined) throw new Error(`${module}:${line} ${name}: @example has no code`)
      return { module, line, name, code, isLine: statement !== undefined }
    })
  )

/** Every example of the published packages, those of internal rooms included: a public module may re-export them. */
export const all: ReadonlyArray<Example> = packages.flatMap(({ folder }) =>
  readdirSync(path.join(workspace, folder, "src"), { encoding: "utf8", recursive: true })
    .filter((file) => file.endsWith(".ts"))
    .sort()
    .flatMap((file) => {
      const module = path.join(folder, "src", file)
      return examplesIn(module, readFileSync(path.join(workspace, module), "utf8"))
    })
)

const prelude = [
  "import { Effect, Redacted } from \"effect\"",
  "import { AmqpMemory } from \"effect-amqp-memory\"",
  "export const password = Redacted.make(\"secret\")",
  "export const example = Effect.gen(function*() {",
  "  const broker = yield* AmqpMemory.AmqpMemory",
  ""
].join("\n")

const linesAbove = (example: Example): number => example.isLine ? lineOf(prelude, prelude.length) - 1 : 0

export const folder = Compilation.folderFor("examples")

const nameOf = ({ line, module }: Example): string => `${module.slice("packages/".length, -".ts".length)}.${line}.ts`

/** The file that an example is written to. */
export const fileOf = (example: Example): string => path.join(folder, nameOf(example))

/** Writes examples as files that stand alone. */
export const write = (examples: ReadonlyArray<Example>): void =>
  Compilation.write(
    folder,
    new Map(examples.map((example) =>
      [nameOf(example), example.isLine ? `${prelude}  ${example.code}\n})\n` : example.code] as const
    ))
  )

/** What is wrong with examples that were written, by their places. An example may declare what nobody uses. */
export const faultsOf = async (examples: ReadonlyArray<Example>): Promise<ReadonlyArray<string>> => {
  const byName = new Map(examples.map((example) => [nameOf(example), example]))
  return (await Compilation.compile(folder)).flatMap((fault) => {
    const [, file, line, text] = /^(\S+)\((\d+),\d+\): (.*)$/.exec(fault) ?? []
    const example = byName.get(file ?? "")
    if (example === undefined) return [fault]
    const source = example.code.split("\n")[Number(line) - 1 - linesAbove(example)] ?? ""
    if (text!.startsWith("error TS6133") && !source.startsWith("import")) return []
    return [`${placeOf({ ...example, line: example.line + Number(line) - 1 - linesAbove(example) })}: ${text}`]
  })
}

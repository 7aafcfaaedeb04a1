/**
 * The API reference: a page for each public module, made of its doc comments and grouped by their categories.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import path from "node:path"
import { Application, LogLevel } from "typedoc"
import { pages, website, workspace } from "./Site.ts"

/** A published package, with the folder of its sources. */
export interface Documented {
  readonly name: string
  readonly folder: string
}

export const packages: ReadonlyArray<Documented> = [
  { name: "effect-amqp", folder: "packages/amqp" },
  { name: "effect-amqp-memory", folder: "packages/memory-broker" },
  { name: "effect-amqp-rpc", folder: "packages/rpc" }
]

/** Names the public modules of a package. */
export const modulesOf = ({ folder }: Documented): ReadonlyArray<string> =>
  readdirSync(path.join(workspace, folder, "src"))
    .filter((file) => file.endsWith(".ts") && file !== "index.ts")
    .map((file) => file.slice(0, -".ts".length))
    .sort()

const options = ({ folder }: Documented, out: string) => ({
  entryPoints: [path.join(workspace, folder, "src/*.ts")],
  exclude: ["**/index.ts"],
  tsconfig: path.join(website, "tsconfig.reference.json"),
  basePath: path.join(workspace, folder, "src"),
  plugin: ["typedoc-plugin-markdown"],
  out,
  readme: "none",
  router: "module",
  entryFileName: "index.md",
  hideBreadcrumbs: true,
  hidePageHeader: true,
  categorizeByGroup: false,
  defaultCategory: "other",
  sort: ["source-order"],
  excludeInternal: true,
  excludePrivate: true,
  excludeExternals: true,
  disableSources: true,
  githubPages: false,
  useCodeBlocks: true,
  useHTMLAnchors: true,
  parametersFormat: "table",
  interfacePropertiesFormat: "list",
  // Signatures name types of internal rooms, which have no page.
  validation: { notExported: false, invalidLink: true, notDocumented: false },
  logLevel: LogLevel.Warn
})

/** Thrown with what the generator said when it could not make the reference. */
export class ReferenceFailed extends Error {}

/** Writes the pages of the reference below `pages/reference`. */
export const make = async (): Promise<number> => {
  const reference = path.join(pages, "reference")
  let count = 0
  for (const documented of packages) {
    const out = path.join(reference, documented.name)
    rmSync(out, { recursive: true, force: true })
    mkdirSync(out, { recursive: true })
    const app = await Application.bootstrapWithPlugins(options(documented, out) as never)
    const project = await app.convert()
    if (project === undefined || app.logger.hasErrors()) {
      throw new ReferenceFailed(`no reference could be made of ${documented.name}`)
    }
    await app.generateOutputs(project)
    for (const module of modulesOf(documented)) {
      const file = path.join(out, `${module}.md`)
      const page = readFileSync(file, "utf8")
      writeFileSync(file, tidied(page, introductionOf(documented, module)))
      count++
    }
    writeFileSync(path.join(out, "index.md"), indexOf(documented))
  }
  return count
}

// Modules have members of the same names, which keep the plain anchors.
const categoryHeading = (category: string): string =>
  `## ${category.slice(0, 1).toUpperCase()}${category.slice(1)} {#category-${category.replace(/\W+/g, "-")}}`

/** The doc comment that a module begins with, which the generator leaves out. */
const introductionOf = ({ folder }: Documented, module: string): string => {
  const source = readFileSync(path.join(workspace, folder, "src", `${module}.ts`), "utf8")
  const comment = /^\/\*\*\n([^]*?)\n? \*\/\n/.exec(source)?.[1] ?? ""
  return comment
    .replace(/^ \* ?/gm, "")
    .replace(/^@since (\S+)$/gm, "\n*Since $1*")
    .replace(/^@example$/gm, "")
    .replace(/(^@see .*\n?)+/gm, (sees) => sees.replace(/^@see (\S+)(.*)$/gm, "- <$1>$2"))
    .replace(/^@\w+.*$/gm, "")
    .trim()
}

const linked = (text: string, page: string): string =>
  text.replace(/\{@link ([\w.]+)\}/g, (_, name: string) => {
    const anchor = `<a id="${name.toLowerCase()}"></a>`
    return page.includes(anchor) ? `[${name}](#${name.toLowerCase()})` : `\`${name}\``
  })

// What would make the outline of a page longer than the page is worth.
const minor =
  /^#{4,6} (Parameters|Returns|Type Parameters|Properties|Examples?|See|Since|Accessors|Constructors|Constructor|Extends|Inherited from|Overrides|Implementation of|Default Value)$/

const tidied = (page: string, introduction: string): string => {
  const body = page
    .replace(/^## .*$/gm, (heading) => categoryHeading(heading.slice(3)))
    .replace(/^#{4,6} Since\n\n(\S+)$/gm, "*Since $1*")
    .replace(/^# .*$/m, (title) => `${title} {#module}\n\n${linked(introduction, page)}`)
  return `---\noutline: [2, 3]\n---\n\n${withAnchors(body)}`
}

/** Writes the anchor of each heading into it, because this generator and that of the site count them differently. */
const withAnchors = (page: string): string => {
  const seen = new Set<string>()
  const heading = /^(?:<a id="([^"]+)"><\/a>\n\n)?(#{3,6} .*)$/gm
  return page.replace(heading, (_, anchor: string | undefined, text: string) => {
    if (minor.test(text)) return text.replace(minor, "**$1**")
    const own = anchor === undefined || seen.has(anchor) ? `heading-${seen.size}` : anchor
    seen.add(own)
    return `${text} {#${own}}`
  })
}

const firstSentence = (introduction: string): string =>
  /^([^]*?[.:])(?=\s|$)/.exec(introduction)?.[1]?.replace(/\s+/g, " ").replace(/:$/, ".")
    .replace(/\{@link ([\w.]+)\}/g, "`$1`") ?? ""

const indexOf = (documented: Documented): string => {
  const rows = modulesOf(documented).map((module) =>
    `| [\`${module}\`](${module}.md) | ${firstSentence(introductionOf(documented, module))} |`
  )
  return [`# ${documented.name}`, "", "| Module | What it is |", "| --- | --- |", ...rows, ""].join("\n")
}

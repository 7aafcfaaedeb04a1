/**
 * The programs of the pages. Each TypeScript block of a page is a file that stands alone; a `console` block that follows
 * it is what it prints.
 */
import { readdirSync, readFileSync } from "node:fs"
import path from "node:path"
import * as Compilation from "./Compilation.ts"
import { pages } from "./Site.ts"

/** A program, or a file of tests, of a page. */
export interface Snippet {
  /** The page, such as `guides/reliability`. */
  readonly page: string
  readonly line: number
  /** The name of the file, without which a block is no snippet. */
  readonly file: string
  readonly code: string
  /** What it prints, line by line, and in this order. */
  readonly prints: ReadonlyArray<string>
  /** Words behind the file's name. */
  readonly flags: ReadonlyArray<string>
}

/** Names every page that is written by hand. */
export const pageNames: ReadonlyArray<string> = readdirSync(pages, { encoding: "utf8", recursive: true })
  .filter((file) => file.endsWith(".md") && !file.startsWith("reference") && !file.startsWith("."))
  .map((file) => file.slice(0, -".md".length))
  .sort()

interface Block {
  readonly language: string
  readonly info: string
  readonly line: number
  readonly text: string
  /** What stands between it and the block before. */
  readonly before: string
}

const fence = /^( *)```(\w*)(.*)\n([^]*?)^\1```$/gm

/** A page with what it includes. */
const textOf = (file: string): string =>
  readFileSync(file, "utf8").replace(
    /<!--@include: (\S+?)-->/g,
    (_, included: string) => textOf(path.join(path.dirname(file), included))
  )

const blocksOf = (page: string): ReadonlyArray<Block> => {
  const text = textOf(path.join(pages, `${page}.md`))
  let end = 0
  return [...text.matchAll(fence)].map((match) => {
    const before = text.slice(end, match.index)
    end = match.index + match[0].length
    return {
      language: match[2]!,
      info: match[3]!.trim(),
      line: text.slice(0, match.index).split("\n").length,
      text: match[4]!,
      before
    }
  })
}

const title = /^\[([\w.-]+\.ts)\](.*)$/

/** Reads the snippets of a page. A block of TypeScript without a file name does not stand alone: that throws. */
export const snippetsOf = (page: string): ReadonlyArray<Snippet> => {
  const blocks = blocksOf(page)
  return blocks.flatMap(({ info, language, line, text }, index): ReadonlyArray<Snippet> => {
    if (language !== "ts" && language !== "typescript" && language !== "tsx") return []
    const [, file, rest] = title.exec(info) ?? []
    if (file === undefined) {
      throw new Error(`${page}.md:${line}: a block of TypeScript needs the name of its file: \`\`\`ts [name.ts]`)
    }
    const next = blocks[index + 1]
    const isOutput = next?.language === "console" && !/^#/m.test(next.before)
    return [{
      page,
      line,
      file,
      code: text,
      prints: isOutput ? next.text.split("\n").filter((line) => line.trim() !== "") : [],
      flags: rest!.split(" ").filter((flag) => flag !== "")
    }]
  })
}

/** Tells a file of tests from a program. */
export const isTest = ({ code }: Snippet): boolean => code.includes("\"@effect/vitest\"")

/** Tells what needs a process of its own, and a RabbitMQ: signals, exit codes, files, TLS. */
export const isProcess = ({ flags }: Snippet): boolean => flags.includes("process")

/** Where snippets are written. */
export const folder = Compilation.folderFor("snippets")

const nameOf = ({ file, page }: Snippet): string => path.join(page, file)

export const fileOf = (snippet: Snippet): string => path.join(folder, nameOf(snippet))

/** Writes the snippets of every page. */
export const write = (snippets: ReadonlyArray<Snippet>): void =>
  Compilation.write(folder, new Map(snippets.map((snippet) => [nameOf(snippet), snippet.code])))

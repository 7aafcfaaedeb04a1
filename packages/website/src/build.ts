/**
 * `npx pnpm@12 docs`: makes the reference, builds the site, and fails on a broken link.
 */
import { build } from "vitepress"
import * as Links from "./Links.ts"
import * as Reference from "./Reference.ts"
import { base, built, pages } from "./Site.ts"

const say = (line: string): void => void process.stdout.write(`${line}\n`)

say(`${await Reference.make()} modules in the reference`)
await build(pages)
const { broken, links, pages: count } = Links.check(built, base)
for (const link of broken) say(`broken: ${link}`)
say(`${count} pages, ${links} links, ${broken.length} broken links`)
if (broken.length > 0) process.exitCode = 1

import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import path from "node:path"
import { promisify } from "node:util"
import { contents } from "../src/contents.ts"
import * as Links from "../src/Links.ts"
import { modulesOf, packages } from "../src/Reference.ts"
import { built, website } from "../src/Site.ts"
import * as Snippets from "../src/Snippets.ts"

/** A site of pages, to look for broken links in. */
const checkOf = (pages: Readonly<Record<string, string>>): ReadonlyArray<string> => {
  const folder = mkdtempSync(path.join(tmpdir(), "effect-amqp-site-"))
  try {
    for (const [file, html] of Object.entries(pages)) {
      mkdirSync(path.dirname(path.join(folder, file)), { recursive: true })
      writeFileSync(path.join(folder, file), html)
    }
    return Links.check(folder, "/").broken
  } finally {
    rmSync(folder, { recursive: true })
  }
}

describe("the site", () => {
  it("is built without a broken link, and has a page for each module and a search", async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ["src/build.ts"], { cwd: website })
    assert.match(stdout, /\b[1-9]\d* pages, [1-9]\d* links, 0 broken links\n$/)
    for (const documented of packages) {
      for (const module of modulesOf(documented)) {
        assert.isTrue(existsSync(path.join(built, "reference", documented.name, `${module}.html`)), module)
      }
    }
    const index = readdirSync(path.join(built, "assets/chunks")).find((file) =>
      file.startsWith("@localSearchIndexroot")
    )
    assert.isDefined(index)
    assert.include(readFileSync(path.join(built, "assets/chunks", index), "utf8"), "TopologyMismatch")
  })

  it("leads to every page that is written by hand", () => {
    const listed = contents.flatMap(({ items }) => items.map(({ link }) => link.slice(1)))
    assert.sameMembers(listed, Snippets.pageNames.filter((page) => page !== "index"))
  })
})

describe("the search for broken links", () => {
  it("finds a page, a file and a heading that are not there", () => {
    const broken = checkOf({
      "index.html": `<a href="/gone">1</a><a href="./there#gone">2</a><a href="#gone">3</a><img src="/gone.png">`,
      "there.html": `<h2 id="here">here</h2>`
    })
    assert.deepStrictEqual(broken, [
      "index.html: /gone",
      "index.html: ./there#gone",
      "index.html: #gone",
      "index.html: /gone.png"
    ])
  })

  it("follows links that are relative, that leave out the extension, and that lead elsewhere", () => {
    const broken = checkOf({
      "index.html": `<a href="/guides/one#here">1</a><a href="https://example.com">2</a><a href="./guides/">3</a>`,
      "guides/index.html": `<a href="one">1</a><a href="../">2</a>`,
      "guides/one.html": `<h2 id="here">here</h2><a href="#here">1</a>`
    })
    assert.deepStrictEqual(broken, [])
  })
})

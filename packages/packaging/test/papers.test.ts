import { assert, describe, it } from "@effect/vitest"
import { existsSync, globSync, readFileSync } from "node:fs"
import path from "node:path"
import * as Published from "../src/Published.ts"
import * as Supported from "../src/Supported.ts"

const read = (file: string): string => readFileSync(path.join(Published.workspace, file), "utf8")
const home = Published.manifestOf(Published.workspace).homepage!.replace("#readme", "")

describe("docs/support.md", () => {
  const page = read("docs/support.md")
  const versions = Object.fromEntries(
    Array.from(page.matchAll(/^\| (\w+) +\| ([\d., ]+?) +\|/gm), ([, name, list]) => [name!, list!.split(", ")])
  )

  it("names the versions of RabbitMQ that test:versions runs", () => {
    assert.deepStrictEqual(versions["RabbitMQ"], [...Supported.rabbitMq])
  })

  it("names the versions of Node, Bun and Deno that the tests run on, and of effect", () => {
    assert.deepStrictEqual(versions["Node"], [Supported.runtimes.node, Supported.nodeOfWorkspace])
    assert.deepStrictEqual(versions["Bun"], [Supported.runtimes.bun])
    assert.deepStrictEqual(versions["Deno"], [Supported.runtimes.deno])
    assert.deepStrictEqual(versions["effect"], [Supported.effect])
  })

  it.each(["docs/support.md", "README.md", "packages/amqp/README.md"])("and %s name the oldest Node", (file) => {
    assert.match(read(file), new RegExp(`Node( is|)\\s${Supported.oldestNode.replace(".", "\\.")}\\b`))
  })
})

describe("the papers", () => {
  const pages = globSync(["*.md", "docs/**/*.md", "packages/*/*.md", ".github/**/*.yml"], { cwd: Published.workspace })

  it.each(pages)("%s links to files that exist, and to no other home than the manifests name", (page) => {
    const text = read(page)
    const relative = Array.from(text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g), ([, target]) => target!)
    const missing = relative.filter((target) => !existsSync(path.join(Published.workspace, path.dirname(page), target)))
    assert.deepStrictEqual(missing, [])
    const own = Array.from(
      text.matchAll(/https:\/\/(?:github|raw\.githubusercontent)\.com\/[^/\s]+\/effect-amqp[^\s)>]*/g),
      ([link]) => link
    )
    assert.deepStrictEqual(
      own.filter((link) =>
        !link.startsWith(home) && !link.startsWith(home.replace("github.com", "raw.githubusercontent.com"))
      ),
      []
    )
    // A file of the repository that is named by its address is there, too.
    const files = own.flatMap((link) =>
      /\/(?:blob|tree)\/main\/([^#]+)|\/effect-amqp\/main\/(.+)/.exec(link)?.slice(1) ?? []
    )
      .filter((file) => file !== undefined)
    assert.deepStrictEqual(files.filter((file) => !existsSync(path.join(Published.workspace, file))), [])
  })
})

describe("the picture of the demo", () => {
  it("is small, and ends with every message confirmed", () => {
    const picture = read("docs/demo.svg")
    assert.isBelow(picture.length, 20_000)
    const [, published, confirmed] = /<title>npx pnpm@12 demo .*: published (\d+), confirmed (\d+), failed 0<\/title>/
      .exec(picture)!
    assert.strictEqual(confirmed, published)
    assert.include(picture, "disconnected: ")
  })
})

describe("the workflow of releases", () => {
  it("runs scripts that exist, after the check, and may prove where a package comes from", () => {
    const workflow = read(".github/workflows/release.yml")
    const scripts = Published.manifestOf(Published.workspace).scripts!
    const run = Array.from(workflow.matchAll(/pnpm ([a-z]+:[a-z]+)/g), ([, name]) => name!)
    assert.sameMembers(run, ["pack:check", "release:version", "release:publish"])
    for (const name of run) assert.property(scripts, name)
    assert.include(workflow, "id-token: write")
    assert.include(workflow, "needs: check")
    assert.include(read(".github/workflows/check.yml"), "workflow_call:")
  })
})

import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import path from "node:path"
import { promisify } from "node:util"
import { contents } from "../src/contents.ts"
import * as Links from "../src/Links.ts"
import { modulesOf, packages } from "../src/Reference.ts"
import * as Search from "../src/Search.ts"
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

const require = createRequire(path.join(website, "node_modules/vitepress/package.json"))

/** What is looked for, in the words of other clients too, and the section that is to be among the first five. */
const asked: Readonly<Record<string, string>> = {
  TopologyMismatch: "/troubleshooting#topologymismatch",
  "delayed message": "/questions#how-is-a-delayed-message-published",
  "scheduled message": "/questions#how-is-a-delayed-message-published",
  TTL: "/questions#how-is-a-delayed-message-published",
  priority: "/questions#are-there-priorities",
  "dead letter": "/guides/consumers#failure-policies",
  DLQ: "/questions#where-do-failed-messages-go",
  "poison message": "/questions#where-do-failed-messages-go",
  "retry backoff": "/questions#how-are-messages-retried-with-backoff",
  idempotency: "/guides/reliability#idempotent-handlers",
  deduplication: "/questions#how-are-duplicates-dropped",
  outbox: "/guides/reliability#an-outbox",
  "exactly once": "/questions#are-messages-delivered-exactly-once",
  ordering: "/questions#is-ordering-guaranteed",
  backpressure: "/questions#what-about-backpressure",
  "rate limit": "/questions#how-is-a-consumer-rate-limited",
  prefetch: "/guides/consumers#prefetch-and-delivery-counts",
  "fire and forget": "/questions#how-does-a-program-fire-and-forget",
  "request reply": "/questions#is-there-request-and-reply",
  "multi-tenant": "/questions#can-one-program-serve-many-tenants",
  vhost: "/questions#can-one-program-serve-many-tenants",
  "headers exchange": "/questions#how-do-headers-route",
  "correlation id": "/questions#is-there-request-and-reply",
  "channel pool": "/questions#does-it-pool-channels",
  "graceful shutdown": "/questions#how-is-it-shut-down-gracefully-in-kubernetes-for-example",
  Kubernetes: "/guides/deployment#stopping-in-time",
  "health endpoint": "/guides/deployment#probes",
  TLS: "/guides/connections#tls",
  cluster: "/guides/connections#clusters",
  metrics: "/guides/observability#metrics",
  tracing: "/guides/observability#traces",
  testing: "/guides/testing#testing",
  CloudAMQP: "/questions#how-does-it-connect-to-a-cluster-by-tls"
}

describe("the site", () => {
  it("is built without a broken link, has a page for each module, and answers to what is asked", async () => {
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

    const { default: text } = await import(path.join(built, "assets/chunks", index))
    const { default: MiniSearch } = await import(require.resolve("minisearch"))
    const searched = MiniSearch.loadJSON(text, { fields: ["title", "titles", "text"], searchOptions: Search.options })
    const found = (words: string): ReadonlyArray<string> =>
      searched.search(words).slice(0, 5).map(({ id }: { readonly id: string }) => id)
    for (const [words, section] of Object.entries(asked)) assert.include(found(words), section, words)
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

import { assert, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import path from "node:path"
import { pages, workspace } from "../src/Site.ts"

const sources = ["packages/amqp/src", "packages/rpc/src"].flatMap((folder) =>
  readdirSync(path.join(workspace, folder), { encoding: "utf8", recursive: true })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => readFileSync(path.join(workspace, folder, file), "utf8"))
)

it("the guide to observability has every metric by its name, and no other", () => {
  const metrics = sources.flatMap((source) =>
    [...source.matchAll(/Metric\.(?:counter|gauge|histogram)\(\s*"([^"]+)"/g)].map((match) => match[1]!)
  )
  const page = readFileSync(path.join(pages, "guides/observability.md"), "utf8")
  const listed = [...page.matchAll(/^\| `([\w.]+)`/gm)].map((match) => match[1]!)
  assert.sameMembers(listed, metrics)
})

import { afterAll, assert, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, ManagedRuntime } from "effect"
import * as Certificates from "effect-amqp-test-rig/Certificates"
import * as FreePort from "effect-amqp-test-rig/FreePort"
import * as Patience from "effect-amqp-test-rig/Patience"
import * as RabbitMq from "effect-amqp-test-rig/RabbitMq"
import { describeWithOwnNode } from "effect-amqp-test-rig/RabbitMqSuite"
import { spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import path from "node:path"
import { website } from "../src/Site.ts"
import type { Snippet } from "../src/Snippets.ts"
import * as Snippets from "../src/Snippets.ts"
import { hasPrinted } from "./support/Runner.ts"

const processes = Snippets.pageNames.flatMap(Snippets.snippetsOf).filter(Snippets.isProcess)

/** A folder as a reader has it: the program, and the certificates that it names. */
const folderOf = (snippet: Snippet, certificates: Certificates.Certificates) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      mkdirSync(path.join(website, "dist"), { recursive: true })
      const folder = mkdtempSync(path.join(website, "dist/process-"))
      writeFileSync(path.join(folder, snippet.file), snippet.code)
      writeFileSync(path.join(folder, "package.json"), JSON.stringify({ type: "module" }))
      symlinkSync(path.join(website, "node_modules"), path.join(folder, "node_modules"))
      mkdirSync(path.join(folder, "certificates"))
      const { authority, client } = certificates
      const files = { "ca.pem": authority, "client.pem": client.certificate, "client.key": client.privateKey }
      for (const [file, pem] of Object.entries(files)) writeFileSync(path.join(folder, "certificates", file), pem)
      return folder
    }),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  )

const node = Effect.gen(function*() {
  const certificates = yield* Certificates.make
  const { authority, server } = certificates
  const broker = yield* RabbitMq.make({ tls: { authority, ...server, verifyPeer: true, failIfNoPeerCert: true } })
  return { broker, certificates }
})

class Node extends Context.Service<Node, Effect.Success<typeof node>>()("effect-amqp-website/test/Node") {}

const runs = Effect.fnUntraced(function*(snippet: Snippet, { broker, certificates }: Node["Service"]) {
  const { file, flags, prints } = snippet
  const folder = yield* folderOf(snippet, certificates)
  const url = flags.includes("tls") ? `amqps://localhost:${broker.tlsPort}` : broker.url
  const port = yield* FreePort.find
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [file], {
        cwd: folder,
        env: { ...process.env, AMQP_URL: url, PORT: String(port) },
        stdio: ["ignore", "pipe", "pipe"]
      })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  let text = ""
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (part: string) => {
      text += part
    })
  }
  const exited = yield* Effect.callback<number | null>((resume) => {
    child.once("exit", (code) => resume(Effect.succeed(code)))
  }).pipe(Effect.forkScoped({ startImmediately: true }))
  yield* Patience.until(
    `${file} prints\n${prints.join("\n")}`,
    Effect.sync(() => {
      if (hasPrinted(text.split("\n"), prints)) return true
      if (child.exitCode !== null) throw new Error(`${file} has ended with ${child.exitCode}:\n${text}`)
      return false
    })
  )
  for (const flag of flags) {
    const [, method, location] = /^(GET|POST):(.*)$/.exec(flag) ?? []
    if (method === undefined) continue
    const ask = Effect.promise(() =>
      fetch(`http://127.0.0.1:${port}${location}`, {
        method,
        ...(method === "POST" ? { headers: { "content-type": "application/json" }, body: "{\"id\":42}" } : {})
      })
    )
    // A server may listen before its consumer is attached: it is not ready until then.
    yield* Patience.until(
      `${file} answers ${method} ${location}`,
      Effect.map(ask, ({ status }) => status === (method === "GET" ? 200 : 202))
    )
  }
  if (!flags.includes("ends")) child.kill("SIGTERM")
  const code = yield* Fiber.join(exited).pipe(Patience.within(`${file} ends`))
  // Nest ends itself with the signal when its hooks are done.
  assert.include(flags.includes("signal") ? [null] : [0, 130], code, text)
})

describeWithOwnNode("the programs of the site that need a process of their own", () => {
  const rabbitMq = ManagedRuntime.make(Layer.effect(Node, node))
  afterAll(() => rabbitMq.dispose())

  it.each(processes.map((snippet) => [`${snippet.page}/${snippet.file}`, snippet] as const))(
    "%s prints what the page says on a RabbitMQ, and ends in order",
    (_, snippet) => rabbitMq.runPromise(Effect.scoped(Node.use((node) => runs(snippet, node))))
  )
})

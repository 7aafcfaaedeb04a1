/**
 * The programs that come with the package, and what each of them says when it runs as it should.
 */
import { readdirSync, readFileSync } from "node:fs"
import path from "node:path"
import { workspace } from "./Published.ts"

/** What a program is to do. */
export interface Expectation {
  /** The line that it is to write, or a part of it. */
  readonly says: string
  /** A message for its queue, which nobody else would send it. */
  readonly feed?: { readonly routingKey: string; readonly body: unknown }
  /** With which code it ends when it is told to by SIGTERM; a program without this one ends by itself, with 0. */
  readonly endsOnSigterm?: number
  /** What to ask it while it listens at a port. */
  readonly answers?: string
}

/** A program of `examples`, or a test. */
export interface Example {
  readonly name: string
  readonly text: string
}

const folder = path.join(workspace, "packages/amqp/examples")

/** Every file of `packages/amqp/examples`. */
export const all: ReadonlyArray<Example> = readdirSync(folder).sort().map((name) => ({
  name,
  text: readFileSync(path.join(folder, name), "utf8")
}))

/** The files of `all` that are run as programs. */
export const programs: ReadonlyArray<Example> = all.filter(({ name }) => !name.endsWith(".test.ts"))

/** By name: a program that is not here is one that nobody runs. */
export const expectations: Readonly<Record<string, Expectation>> = {
  "batch.ts": { says: "1000 of the stream are confirmed" },
  "contract.ts": { says: "order 42 brought 1250 cents" },
  "log.ts": { says: "offset 2: shipped", endsOnSigterm: 130 },
  "managed-runtime.ts": { says: "listening on", endsOnSigterm: 0, answers: "RabbitMQ has it" },
  "one-connection.ts": { says: "invoice for order 42", endsOnSigterm: 130 },
  "outcomes.ts": { says: "nobody is bound to order.42.paid" },
  "publish.ts": { says: "RabbitMQ has it" },
  "redrive.ts": { says: "moved 1 back" },
  "stream.ts": { says: "on average 21 degrees" },
  "watch.ts": { says: "invoices: Attached" },
  "worker.ts": {
    says: "invoice for order 42",
    feed: { routingKey: "invoices", body: { id: 42 } },
    endsOnSigterm: 130
  }
}

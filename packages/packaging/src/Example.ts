/**
 * The programs that come with the package, and what each of them says when it runs as it should.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import path from "node:path"
import * as Published from "./Published.ts"

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

/** A program of the folder `examples` of a package, or a test. */
export interface Example {
  readonly package: string
  readonly directory: string
  readonly name: string
  readonly text: string
}

/** Every file of the folders `examples`. */
export const all: ReadonlyArray<Example> = Published.all.flatMap(({ folder, manifest }) => {
  const directory = path.join(folder, "examples")
  return existsSync(directory)
    ? readdirSync(directory).sort().map((name) => ({
      package: manifest.name,
      directory,
      name,
      text: readFileSync(path.join(directory, name), "utf8")
    }))
    : []
})

/** The files of `all` that are run as programs. */
export const programs: ReadonlyArray<Example> = all.filter(({ name }) => !name.endsWith(".test.ts"))

/** By name: a program that is not here is one that nobody runs. */
export const expectations: Readonly<Record<string, Expectation>> = {
  "batch.ts": { says: "1000 of the stream are confirmed" },
  "calculator.ts": { says: "\n3\n" },
  "contract.ts": { says: "order 42 brought 1250 cents" },
  "log.ts": { says: "offset 2: shipped", endsOnSigterm: 130 },
  "managed-runtime.ts": { says: "listening on", endsOnSigterm: 0, answers: "RabbitMQ has it" },
  "one-connection.ts": { says: "packing order 42", endsOnSigterm: 130 },
  "outcomes.ts": { says: "nobody is bound to order.42.lost" },
  "partitions.ts": { says: "alice: -250 cents, partition" },
  "publish.ts": { says: "RabbitMQ has it" },
  "redrive.ts": { says: "moved 1 back" },
  "stream.ts": { says: "on average 21 degrees" },
  "watch.ts": { says: "invoices: Attached" },
  "worker.ts": {
    says: "packing order 42",
    feed: { routingKey: "packing", body: { id: 42 } },
    endsOnSigterm: 130
  }
}

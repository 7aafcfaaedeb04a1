import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import * as Patience from "effect-amqp-test-rig/Patience"
import { describeWithSharedBroker } from "effect-amqp-test-rig/RabbitMqSuite"
import * as SharedRabbitMq from "effect-amqp-test-rig/SharedRabbitMq"
import { spawn } from "node:child_process"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"

const example = join(import.meta.dirname, "..")

/** Start the program of a section of the README as it stands; its lines come as a stream, and it ends with the scope. */
const start = Effect.fnUntraced(function*(section: string, url: string) {
  const readme = yield* Effect.promise(() => readFile(join(example, "../../README.md"), "utf8"))
  const program = new RegExp(`## ${section}\\n\\n\`\`\`ts\\n(.*?)\`\`\``, "s").exec(readme)?.[1]
  assert.isDefined(program, `the README must have a program under "${section}"`)
  // Inside the package, so that its imports are found.
  const folder = yield* Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(example, "node_modules", "readme-"))),
    (folder) => Effect.promise(() => rm(folder, { recursive: true }))
  )
  const file = join(folder, "program.ts")
  yield* Effect.promise(() => writeFile(file, program!))
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, ["--import", "tsx", file], {
        cwd: example,
        env: { ...process.env, AMQP_URL: url },
        stdio: ["ignore", "pipe", "inherit"]
      })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  const says = (text: string) =>
    Stream.fromAsyncIterable(child.stdout, (cause) => cause).pipe(
      Stream.decodeText,
      Stream.splitLines,
      Stream.filter((line) => line.includes(text)),
      Stream.runHead,
      Patience.within(`the program says "${text}"`)
    )
  const exited = Effect.callback<number | null>((resume) => {
    child.once("exit", (code) => resume(Effect.succeed(code)))
  })
  return { child, says, exited }
})

describeWithSharedBroker("the programs of the README run as they stand", () => {
  it.live("the smallest one publishes, and RabbitMQ has the message", () =>
    Effect.gen(function*() {
      const broker = yield* SharedRabbitMq.make
      const program = yield* start("The smallest program", broker.url)
      assert.strictEqual((yield* program.says("RabbitMQ has it"))._tag, "Some")
    }))

  it.live("the worker handles a message, and ends in order on SIGTERM", () =>
    Effect.gen(function*() {
      const broker = yield* SharedRabbitMq.make
      const program = yield* start("A worker", broker.url)
      yield* Effect.gen(function*() {
        yield* AmqpTopology.declare(AmqpTopology.make(AmqpTopology.queue("packing", {
          type: "quorum",
          deadLetterExchange: "",
          deadLetterRoutingKey: "packing.rejected"
        })))
        const publisher = yield* AmqpPublisher.make()
        yield* publisher.publish({ routingKey: "packing", body: { id: 42 } })
      }).pipe(Effect.provide(AmqpConnection.layer({ endpoints: broker.url })))
      assert.strictEqual((yield* program.says("packing order 42"))._tag, "Some")
      const exited = yield* Effect.forkChild(program.exited, { startImmediately: true })
      program.child.kill("SIGTERM")
      assert.strictEqual(yield* Fiber.join(exited).pipe(Patience.within("the program ends")), 130)
    }))

  it.live("the one with partitions handles the messages of a key in order", () =>
    Effect.gen(function*() {
      const broker = yield* SharedRabbitMq.make
      const program = yield* start("Partitions", broker.url)
      assert.strictEqual((yield* program.says("alice: 1250 cents"))._tag, "Some")
    }))

  it.live("the one by contract publishes, and its worker handles the message", () =>
    Effect.gen(function*() {
      const broker = yield* SharedRabbitMq.make
      const program = yield* start("Contracts", broker.url)
      assert.strictEqual((yield* program.says("order 42 brought 1250 cents"))._tag, "Some")
    }))
})

import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Exit, Fiber, Layer, Scope } from "effect"
import type { AmqpDelivery } from "effect-amqp"
import { AmqpConnection, AmqpPublisher, AmqpStream, AmqpTopology, OffsetStore } from "effect-amqp"
import { AmqpMemory, FaultPlan } from "effect-amqp-memory"
import { pass } from "effect-amqp-test-rig/VirtualTime"
import { between } from "../support/Between.ts"
import { bodyOf, log } from "../support/Reading.ts"

const client = AmqpPublisher.layer({ confirmTimeout: "30 seconds" }).pipe(
  Layer.provideMerge(AmqpTopology.layer(AmqpTopology.make(log))),
  Layer.provideMerge(AmqpConnection.layer({ retry: { interval: "500 millis", max: 1000 } }))
)

const numbers = (count: number): ReadonlyArray<string> => Array.from({ length: count }, (_, i) => String(i))

/** What is given twice, and what comes before something lower that was not there before. */
const firstSightings = (handled: ReadonlyArray<string>): ReadonlyArray<string> => Array.from(new Set(handled))

/** Read six messages, three of which are there before, with the connection cut at a frame. */
const withCutAt = (frame: number, from: AmqpStream.From) =>
  Effect.gen(function*() {
    const broker = yield* AmqpMemory.AmqpMemory
    const handled: Array<string> = []
    const application = yield* Scope.make()
    const services = yield* Layer.buildWithScope(client, application)
    return yield* Effect.gen(function*() {
      const publisher = yield* AmqpPublisher.AmqpPublisher
      yield* Effect.forEach(["0", "1", "2"], (body) => publisher.publish({ routingKey: "log", body }))
      const before = yield* broker.operations
      yield* broker.cutAfter(frame)
      const reading = yield* Effect.forkChild(
        Effect.scoped(Effect.gen(function*() {
          const offsets = yield* Layer.build(AmqpStream.storeInQueue)
          yield* AmqpStream.make(
            log,
            (delivery) =>
              Effect.andThen(Effect.sleep("100 millis"), Effect.sync(() => void handled.push(bodyOf(delivery)))),
            { group: "g", from, saveInterval: "1 second" }
          ).pipe(Effect.provideContext(offsets))
          yield* Effect.forEach(["3", "4", "5"], (body) => publisher.publish({ routingKey: "log", body }))
          yield* Effect.sleep("20 seconds")
        }))
      )
      yield* pass(60_000)
      yield* Fiber.join(reading)
      const frames = (yield* broker.operations) - before
      const closing = yield* Effect.forkChild(Scope.close(application, Exit.void))
      yield* pass(5000)
      yield* Fiber.join(closing)
      assert.deepStrictEqual(yield* broker.leftovers, [])
      return { handled, frames }
    }).pipe(Effect.provideContext(services))
  }).pipe(Effect.provide(AmqpMemory.layer))

interface Shape {
  readonly messages: number
  readonly concurrency: number
  readonly prefetch: number
  readonly handlerMillis: number
  readonly saveMillis: number
}

const Shape: Arbitrary.Arbitrary<Shape> = Arbitrary.map(
  Arbitrary.all({
    messages: between(1, 40),
    concurrency: between(1, 5),
    extra: between(0, 20),
    handlerMillis: between(0, 10),
    saveMillis: between(1, 30)
  }),
  ({ extra, handlerMillis, saveMillis, ...shape }) => ({
    ...shape,
    handlerMillis: handlerMillis * 100,
    saveMillis: saveMillis * 100,
    prefetch: shape.concurrency + extra
  })
)

/** What one process of a group has done, until it died. */
interface Life {
  /** The offset that it began at. */
  readonly began: number
  /** Offsets whose handler came to its end. */
  readonly finished: Array<number>
  isDead: boolean
}

/** A group over its deaths: each process has what the last one saved, and nothing of what a dead one still does counts. */
const group = (name: string, shape: Shape, handled: Array<string>) => {
  let saved: number | undefined
  const lives: Array<Life> = []
  const live = Effect.gen(function*() {
    const life: Life = { began: saved ?? 0, finished: [], isDead: false }
    lives.push(life)
    const store: OffsetStore.OffsetStore = {
      load: () => Effect.sync(() => saved),
      save: (_group, _stream, offset) =>
        Effect.sync(() => {
          if (!life.isDead) saved = offset
        })
    }
    const handler = (delivery: AmqpDelivery.Delivery) =>
      Effect.andThen(
        Effect.sleep(shape.handlerMillis * ((delivery.deliveryTag % 3) / 2)),
        Effect.sync(() => {
          if (life.isDead) return
          handled.push(bodyOf(delivery))
          life.finished.push(AmqpStream.offsetOf(delivery)!)
        })
      )
    return yield* AmqpStream.run(log, handler, {
      group: name,
      concurrency: shape.concurrency,
      prefetch: shape.prefetch,
      saveInterval: shape.saveMillis,
      drainTimeout: "1 second"
    }).pipe(Effect.provideService(OffsetStore.OffsetStore, store))
  })
  return { live, lives, saved: () => saved }
}

/** Publish and read in two groups while a plan is played; one of them dies at some moments, and lives again. */
const account = (shape: Shape, plan: FaultPlan.FaultPlan, deaths: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const broker = yield* AmqpMemory.AmqpMemory
    const application = yield* Scope.make()
    const services = yield* Layer.buildWithScope(client, application)
    const publisher = yield* Effect.provideContext(AmqpPublisher.AmqpPublisher, services)
    const confirmed = new Set<string>()
    const handled: { readonly mortal: Array<string>; readonly other: Array<string> } = { mortal: [], other: [] }
    const mortal = group("mortal", shape, handled.mortal)
    const other = group("other", shape, handled.other)
    let process = yield* Effect.forkChild(Effect.provideContext(mortal.live, services))
    const untouched = yield* Effect.forkChild(Effect.provideContext(other.live, services))
    const dying = yield* Effect.forkChild(Effect.forEach(
      Array.from(new Set(deaths)).sort((a, b) => a - b).map((at, i, all) => at - (all[i - 1] ?? 0)),
      (pause) =>
        Effect.gen(function*() {
          yield* Effect.sleep(pause)
          mortal.lives.at(-1)!.isDead = true
          yield* Effect.forkChild(Fiber.interrupt(process), { startImmediately: true })
          process = yield* Effect.forkDetach(Effect.provideContext(mortal.live, services))
        }),
      { discard: true }
    ))
    const faults = yield* Effect.forkChild(FaultPlan.play(plan))
    const publishing = yield* Effect.forkChild(Effect.forEach(
      numbers(shape.messages),
      (body) =>
        publisher.publish({ routingKey: "log", body }).pipe(
          Effect.delay(Number(body) * 200),
          Effect.match({ onSuccess: () => void confirmed.add(body), onFailure: () => {} })
        ),
      { concurrency: "unbounded", discard: true }
    ))
    yield* pass(plan.duration, 100)
    yield* Effect.forEach([faults, dying], Fiber.join)
    yield* pass(60_000 + shape.messages * shape.handlerMillis, 500)
    yield* Fiber.join(publishing)
    const stopping = yield* Effect.forkChild(
      Effect.andThen(
        Effect.forEach([process, untouched], Fiber.interrupt, { concurrency: 2 }),
        Scope.close(application, Exit.void)
      ),
      { startImmediately: true }
    )
    yield* pass(4000, 100)
    yield* Fiber.join(stopping)
    assert.deepStrictEqual(yield* broker.leftovers, [])
    return { confirmed, handled, lives: mortal.lives, untouched: other.lives, saved: mortal.saved() }
  }).pipe(Effect.provide(AmqpMemory.layer))

const missing = (confirmed: ReadonlySet<string>, handled: ReadonlyArray<string>) => {
  const seen = new Set(handled)
  return [...confirmed].filter((body) => !seen.has(body))
}

describe("AmqpStream under faults", () => {
  for (const from of ["first", "last", "next"] as const) {
    it.effect(`from ${from}, a cut at any frame costs no message and repeats none`, () =>
      Effect.gen(function*() {
        const expected = from === "first" ? numbers(6) : from === "last" ? numbers(6).slice(2) : numbers(6).slice(3)
        const { frames, handled } = yield* withCutAt(1_000_000, from)
        assert.deepStrictEqual(handled, expected)
        assert.isAbove(frames, 20)
        for (let frame = 1; frame <= frames; frame++) {
          const { handled } = yield* withCutAt(frame, from)
          // A message may be published twice around a cut, which is another message of the stream.
          assert.deepStrictEqual(firstSightings(handled), expected, `cut at frame ${frame}`)
        }
      }), 240_000)
  }

  it.effect.prop(
    "whatever fails and whenever a process dies, nothing is skipped, and only what was handled since the last save comes again",
    {
      shape: Shape,
      seed: between(0, 1_000_000),
      deaths: Arbitrary.array(between(500, 9500), { maxLength: 4 })
    },
    ({ deaths, seed, shape }) =>
      Effect.gen(function*() {
        const plan = FaultPlan.random({ seed, duration: "10 seconds" })
        const { confirmed, handled, lives, untouched } = yield* account(shape, plan, deaths)
        const about = JSON.stringify({ plan, deaths })
        assert.deepStrictEqual(missing(confirmed, handled.mortal), [], about)
        assert.deepStrictEqual(missing(confirmed, handled.other), [], about)
        for (const life of [...lives, ...untouched]) {
          assert.strictEqual(new Set(life.finished).size, life.finished.length, `handled twice in one life: ${about}`)
          assert.isTrue(life.finished.every((offset) => offset >= life.began), `before its beginning: ${about}`)
        }
        assert.lengthOf(untouched, 1)
        if (shape.concurrency === 1) {
          for (const { finished } of [...lives, ...untouched]) {
            assert.deepStrictEqual(finished, [...finished].sort((a, b) => a - b), about)
          }
        }
      }),
    { arbitrary: { runs: 60 }, timeout: 240_000 }
  )
})

/**
 * Random faults that can be replayed. A plan is plain data that a seed decides, and {@link play} carries it out on the
 * Clock. A test that fails prints its plan, or only the seed.
 *
 * @example
 * ```ts
 * import { it } from "@effect/vitest"
 * import { Effect } from "effect"
 * import { AmqpMemory, FaultPlan } from "effect-amqp-memory"
 * import { TestClock } from "effect/testing"
 *
 * it.effect("a minute of faults", () =>
 *   Effect.gen(function*() {
 *     const plan = FaultPlan.random({ seed: 42, duration: "1 minute" })
 *     yield* FaultPlan.play(plan).pipe(Effect.forkScoped)
 *     yield* TestClock.adjust("1 minute")
 *   }).pipe(Effect.provide(AmqpMemory.layer)))
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Service } from "./AmqpMemory.ts"
import { AmqpMemory } from "./AmqpMemory.ts"
import { seeded } from "./SeededRandom.ts"

/**
 * One fault. A fault that lasts says for how many milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault =
  | { readonly _tag: "CutConnections" }
  | { readonly _tag: "ForceClose" }
  | { readonly _tag: "RefuseConnects"; readonly count: number }
  | { readonly _tag: "CutAfter"; readonly frames: number }
  | { readonly _tag: "CloseChannels" }
  | { readonly _tag: "NackConfirms"; readonly count: number }
  | { readonly _tag: "LoseConfirms"; readonly count: number }
  | { readonly _tag: "ReturnPublishes"; readonly count: number }
  | { readonly _tag: "WithholdConfirms"; readonly millis: number }
  | { readonly _tag: "Block"; readonly millis: number }
  | { readonly _tag: "StopAnswering"; readonly millis: number }
  | { readonly _tag: "Crash"; readonly millis: number }

/**
 * A fault and when it happens, in milliseconds after the plan began.
 *
 * @category models
 * @since 0.1.0
 */
export interface Step {
  readonly at: number
  readonly fault: Fault
}

/**
 * Faults in order of time.
 *
 * @category models
 * @since 0.1.0
 */
export interface FaultPlan {
  readonly seed: number
  /** Milliseconds, after which every fault ends. */
  readonly duration: number
  readonly steps: ReadonlyArray<Step>
}

const kinds: ReadonlyArray<Fault["_tag"]> = [
  "CutConnections",
  "ForceClose",
  "RefuseConnects",
  "CutAfter",
  "CloseChannels",
  "NackConfirms",
  "LoseConfirms",
  "ReturnPublishes",
  "WithholdConfirms",
  "Block",
  "StopAnswering",
  "Crash"
]

/**
 * Makes the plan of a seed: one fault every second on average. Its kinds default to all.
 *
 * @category constructors
 * @since 0.1.0
 */
export const random = (options: {
  readonly seed: number
  readonly duration: Duration.Input
  readonly kinds?: ReadonlyArray<Fault["_tag"]> | undefined
}): FaultPlan => {
  const next = seeded(options.seed)
  const duration = Duration.toMillis(Duration.fromInputUnsafe(options.duration))
  const allowed = options.kinds ?? kinds
  const upTo = (n: number) => 1 + Math.floor(next() * n)
  const fault = (): Fault => {
    const _tag = allowed[upTo(allowed.length) - 1] ?? "CutConnections"
    switch (_tag) {
      case "RefuseConnects":
      case "NackConfirms":
      case "LoseConfirms":
      case "ReturnPublishes":
        return { _tag, count: upTo(3) }
      case "CutAfter":
        return { _tag, frames: upTo(10) }
      case "WithholdConfirms":
      case "Block":
      case "StopAnswering":
      case "Crash":
        return { _tag, millis: upTo(3000) }
      default:
        return { _tag }
    }
  }
  const steps: Array<Step> = []
  for (let at = upTo(2000); at < duration; at += upTo(2000)) steps.push({ at, fault: fault() })
  return { seed: options.seed, duration, steps }
}

const during = (millis: number, begin: Effect.Effect<void>, end: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.acquireUseRelease(begin, () => Effect.sleep(millis), () => end)

const carryOut = (broker: Service, fault: Fault): Effect.Effect<void> => {
  switch (fault._tag) {
    case "CutConnections":
      return broker.cutConnections
    case "ForceClose":
      return broker.forceClose("fault plan")
    case "RefuseConnects":
      return broker.refuseConnects(fault.count)
    case "CutAfter":
      return broker.cutAfter(fault.frames)
    case "CloseChannels":
      return broker.closeChannels({ replyCode: 406, replyText: "PRECONDITION_FAILED - fault plan" })
    case "NackConfirms":
      return broker.nackConfirms(fault.count)
    case "LoseConfirms":
      return broker.loseConfirms(fault.count)
    case "ReturnPublishes":
      return broker.returnPublishes(fault.count)
    case "WithholdConfirms":
      return during(fault.millis, broker.withholdConfirms, broker.releaseConfirms)
    case "Block":
      return during(fault.millis, broker.block(), broker.unblock)
    case "StopAnswering":
      return during(fault.millis, broker.stopAnswering(), broker.resumeAnswering)
    case "Crash":
      return during(fault.millis, broker.crash, broker.start)
  }
}

/**
 * Carries a plan out. Every fault is ended when the plan is over, and on interruption.
 *
 * @category running
 * @since 0.1.0
 */
export const play: (plan: FaultPlan) => Effect.Effect<void, never, AmqpMemory> = Effect.fnUntraced(function*(plan) {
  const broker = yield* AmqpMemory
  yield* Effect.forEach(
    plan.steps,
    ({ at, fault }) => Effect.delay(carryOut(broker, fault), at),
    { concurrency: "unbounded", discard: true }
  ).pipe(
    Effect.timeoutOption(plan.duration),
    Effect.ensuring(broker.heal)
  )
  return undefined
})

/**
 * What components do on every session: the setups of one supervisor, run in registration order, and the judgement of
 * those that fail or end their session.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { AmqpError, SetupAbandoned } from "../../AmqpError.ts"
import * as Monotonic from "../monotonic.ts"
import { healingMillis } from "./patience.ts"
import { refine } from "./refusals.ts"
import type { Session } from "./session.ts"

/** What a component does on every session: acquired resources go into the scope, which ends with the session. */
export type Setup = (session: Session) => Effect.Effect<void, AmqpError, Scope.Scope>

/** A component's setup, from registration until the component's own scope ends. */
export interface Registration {
  readonly setup: Setup
  /** Settled by the first session on which the setup ran, or by what makes that impossible. */
  readonly outcome: Deferred.Deferred<void, AmqpError>
  /** The setup will not be run again: it failed for good, or the connection is finished. */
  readonly onFailed: (error: AmqpError) => void
}

/** Where a setup is between two successes. */
type Progress =
  | { readonly _tag: "Settled" }
  /** Tried since then, and not done yet; `endings` sessions running ended during a try. */
  | { readonly _tag: "Trying"; readonly since: number; readonly endings: number }

interface Entry {
  readonly registration: Registration
  progress: Progress
  /** Why it was refused last; a refusal that goes on is told once. */
  refusedFor: string | undefined
  /** What the setup acquired on the present session. */
  acquired: Scope.Closeable | undefined
}

/** The setups of one supervisor. */
export interface Setups {
  readonly add: (registration: Registration) => void
  /** Runs one that was added while a session is live. */
  readonly runLate: (registration: Registration, session: Session) => Effect.Effect<void>
  /** Waits for the judgement of those that were under way when their session ended. */
  readonly judged: Effect.Effect<void>
  /** Runs all, one after the other, until the session ends. */
  readonly runAll: (session: Session) => Effect.Effect<void>
  /** Forgets a setup and releases what it acquired. */
  readonly remove: (registration: Registration) => Effect.Effect<void>
  /** Fails all that are there, because there will be no session. */
  readonly failAll: (error: AmqpError) => void
  /**
   * Is `true` while a setup keeps an outage from being over, however long the sessions are up meanwhile: its sessions
   * end during it, or its maker still waits since an earlier one.
   */
  readonly isOutageOpen: (sessionSince: number) => boolean
}

// So many sessions running that end during the same setup are no coincidence when a maker waits for the setup, or when
// the broker says why it ends them.
const endingsUntilFailed = 3

// A component at work has no way back, and a network that flaps ends sessions without a word.
const silentEndingsUntilFailed = 10

// The broker's operator closed the connection, or the broker stops: whatever was under way is not the cause.
const connectionForced = 320

const isAccusation = ({ reason }: AmqpError): boolean =>
  reason._tag === "ConnectionLost" && reason.replyCode !== undefined && reason.replyCode !== connectionForced

const isWaitedFor = ({ outcome }: Registration): boolean => !Deferred.isDoneUnsafe(outcome)

/** Settles a registration. Only the first time tells its maker; a failure always tells its owner. */
export const settle = (registration: Registration, exit: Exit.Exit<void, AmqpError>): void => {
  Deferred.doneUnsafe(registration.outcome, exit)
  if (Exit.isFailure(exit)) {
    const error = Exit.findErrorOption(exit)
    if (error._tag === "Some") registration.onFailed(error.value)
  }
}

/** What a log line says of the session besides its own fields. */
export type About = (fields: Record<string, unknown>) => Record<string, unknown>

/** Makes the setups of a supervisor, of which there are none yet. */
export const make = (about: About): Effect.Effect<Setups> =>
  Effect.map(Clock.Clock, (clock) => {
    const entries: Array<Entry> = []
    const underWay = new Set<Deferred.Deferred<void>>()
    const now = () => Monotonic.millis(clock)
    const find = (registration: Registration) => entries.find((entry) => entry.registration === registration)

    const forget = (entry: Entry): void => {
      const index = entries.indexOf(entry)
      if (index >= 0) entries.splice(index, 1)
    }

    /** The session ended during the setup, which may be why. */
    const judgeEnding = (entry: Entry, own: AmqpError | undefined, session: Session, isAlone: boolean) => {
      if (entry.progress._tag === "Settled") return Effect.void
      const ended = session.ended!
      const { registration } = entry
      // Where a message or a single operation may be the cause, a setup is not: it is only not to be waited for without an end.
      if (
        session.isBlamedOnUse &&
        !(isWaitedFor(registration) && now() - entry.progress.since >= healingMillis(session.heartbeat))
      ) return Effect.void
      const endings = entry.progress.endings + 1
      entry.progress = { ...entry.progress, endings }
      const operation = own?.operation ?? ended.operation
      const isWaiting = isWaitedFor(registration)
      // The broker hung up on what this setup asked of it, alone as it was, and would do so on every session.
      const isRefused = isAlone && isWaiting && ended.reason._tag === "ConnectionLost" && !ended.isRetryable
      const limit = session.isBlamedOnUse
        ? 0
        : isWaiting || isAccusation(ended)
        ? endingsUntilFailed
        : silentEndingsUntilFailed
      if (!isRefused && endings < limit) return Effect.void
      const last = refine(ended.reason)
      return giveUp(
        entry,
        Exit.fail(
          new AmqpError({
            operation,
            reason: isRefused ? last : new SetupAbandoned({ sessions: endings, last })
          })
        )
      )
    }

    const giveUp = (entry: Entry, exit: Exit.Exit<void, AmqpError>): Effect.Effect<void> =>
      Effect.suspend(() => {
        const wasWaitedFor = isWaitedFor(entry.registration)
        forget(entry)
        settle(entry.registration, exit)
        return wasWaitedFor || Exit.isSuccess(exit)
          ? Effect.void
          : Effect.logError("AMQP setup failed and will not be tried again", about({}), exit.cause)
      })

    const run = (entry: Entry, session: Session, isAlone: boolean): Effect.Effect<void> =>
      Effect.suspend(() => {
        const over = Deferred.makeUnsafe<void>()
        underWay.add(over)
        return Effect.ensuring(
          tryOnce(entry, session, isAlone),
          Effect.sync(() => {
            underWay.delete(over)
            Deferred.doneUnsafe(over, Effect.void)
          })
        )
      })

    const tryOnce = (entry: Entry, session: Session, isAlone: boolean): Effect.Effect<void> =>
      Effect.gen(function*() {
        // Its owner may have gone while it waited for its turn.
        if (!entries.includes(entry)) return
        if (entry.progress._tag === "Settled") entry.progress = { _tag: "Trying", since: now(), endings: 0 }
        const { since } = entry.progress
        const setupScope = yield* Scope.fork(session.scope)
        entry.acquired = setupScope
        const acquired = yield* Scope.fork(setupScope)
        // In a fiber that ends with its registration or its session, so that nobody waits longer than that for a setup.
        const running = yield* entry.registration.setup(session).pipe(
          Scope.provide(acquired),
          Effect.forkIn(setupScope, { startImmediately: true })
        )
        let exit = yield* Effect.raceFirst(
          Fiber.await(running),
          Effect.andThen(session.over, Effect.sync(() => Exit.fail(session.ended!)))
        )
        // An operation may fail a moment before its driver says that the connection is gone, and a moment after.
        if (Exit.isFailure(exit)) {
          yield* Effect.yieldNow
          exit = running.pollUnsafe() ?? exit
        }
        if (Exit.isSuccess(exit)) {
          entry.progress = { _tag: "Settled" }
          entry.refusedFor = undefined
          return settle(entry.registration, exit)
        }
        yield* Scope.close(setupScope, exit)
        if (entry.acquired === setupScope) entry.acquired = undefined
        if (!entries.includes(entry)) return
        const error = Exit.findErrorOption(exit)
        const failure = error._tag === "Some" ? error.value : undefined
        if (!session.isAlive) return yield* judgeEnding(entry, failure, session, isAlone)
        const healing = healingMillis(session.heartbeat)
        const waited = now() - since
        // Only a maker that still waits may be told of what will pass: a component at work has no way back.
        if (failure?.isRetryable !== true || (isWaitedFor(entry.registration) && waited >= healing)) {
          return yield* giveUp(entry, exit)
        }
        const pause = waited < healing ? Duration.seconds(1) : session.heartbeat
        const log = failure.message === entry.refusedFor ? Effect.logDebug : Effect.logWarning
        entry.refusedFor = failure.message
        yield* log(
          "AMQP setup refused for now, trying again",
          about({ reason: failure.message, nextDelayMillis: Duration.toMillis(pause) })
        )
        yield* Effect.forkIn(Effect.andThen(Effect.sleep(pause), run(entry, session, false)), session.scope)
      })

    return {
      add(registration) {
        entries.push({ registration, progress: { _tag: "Settled" }, refusedFor: undefined, acquired: undefined })
      },
      runLate: (registration, session) =>
        Effect.suspend(() => {
          const entry = find(registration)
          return entry === undefined ? Effect.void : run(entry, session, false)
        }),
      judged: Effect.suspend(() => Effect.forEach(underWay, Deferred.await, { discard: true })),
      runAll: Effect.fnUntraced(function*(session) {
        // Components come and go while setups run, so the list is asked again each time.
        const done = new Set<Entry>()
        for (;;) {
          const entry = session.isAlive ? entries.find((entry) => !done.has(entry)) : undefined
          if (entry === undefined) return
          done.add(entry)
          yield* run(entry, session, true)
        }
      }),
      remove: (registration) =>
        Effect.suspend(() => {
          const entry = find(registration)
          if (entry === undefined) return Effect.void
          forget(entry)
          const { acquired } = entry
          return acquired === undefined ? Effect.void : Scope.close(acquired, Exit.void)
        }),
      failAll(error) {
        for (const { registration } of entries.splice(0)) settle(registration, Exit.fail(error))
      },
      isOutageOpen: (sessionSince) =>
        entries.some(({ progress, registration }) =>
          progress._tag === "Trying" &&
          (progress.endings >= 2 || (progress.since < sessionSince && isWaitedFor(registration)))
        )
    }
  })

/**
 * The one recovery mechanism: the only code that dials, and the only code that has setups run.
 *
 *     connect under a Schedule -> open the session's scope -> run every setup in registration order -> announce it
 *     -> wait for the close event -> close the scope, which releases all that was acquired in it -> again
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { AmqpError } from "../../AmqpError.ts"
import { invalid } from "../checkOptions.ts"
import * as Monotonic from "../monotonic.ts"
import * as WakeLater from "../wakeLater.ts"
import type { Credentials } from "./credentials.ts"
import type { Dialled, Dialler } from "./dial.ts"
import { closedByUs } from "./dial.ts"
import { keepFresh } from "./renewal.ts"
import type { RetryBudget, RetrySchedules } from "./retryBudget.ts"
import * as RetryBudgets from "./retryBudget.ts"
import { Session } from "./session.ts"
import type { Registration } from "./setups.ts"
import * as Setups from "./setups.ts"
import type { Role, State } from "./state.ts"

/** Everything that a supervisor needs; the same for both roles but for the start-up. */
export interface SupervisorOptions {
  /** Shared by the supervisors of one connection. */
  readonly dialler: Dialler
  readonly connectionName: string
  readonly heartbeat: Duration.Duration
  readonly operationTimeout: Duration.Duration
  readonly schedules: RetrySchedules
  /** Asks for the credentials again, if they are given as an effect. */
  readonly credentials: Effect.Effect<Credentials, AmqpError> | undefined
  /** Shared by the supervisors of one connection, so that no two sessions have the same epoch. */
  readonly nextEpoch: () => number
}

/** One role's supervisor. */
export interface Supervisor {
  readonly state: SubscriptionRef.SubscriptionRef<State>
  readonly role: () => Role | undefined
  readonly assign: (role: Role) => Effect.Effect<void>
  /** Begins to dial; once. */
  readonly start: Effect.Effect<void>
  /** The live session, as soon as there is one; fails when there will be none. */
  readonly session: Effect.Effect<Session, AmqpError>
  readonly add: (registration: Registration) => Effect.Effect<void>
  /** Forgets a setup and releases what it acquired. */
  readonly remove: (registration: Registration) => Effect.Effect<void>
}

/** What there is to have of a supervisor: nothing before it is started, a session soon, a session, or an error. */
type Phase =
  | { readonly _tag: "Idle"; readonly next: Deferred.Deferred<Session, AmqpError> }
  | { readonly _tag: "Waiting"; readonly next: Deferred.Deferred<Session, AmqpError> }
  | { readonly _tag: "Live"; readonly session: Session }
  | { readonly _tag: "Over"; readonly error: AmqpError }

/** How a session ended; `uptime` is how many milliseconds it was announced for, if it was. */
interface Ended {
  readonly cause: AmqpError
  readonly uptime: number | undefined
  /** A setup keeps the outage open, however long the session lasted. */
  readonly isOutageOpen: boolean
  /** The broker ended the session for a message or a single operation, as far as anybody can tell. */
  readonly isBlamedOnUse: boolean
}

/** Makes a supervisor that is idle until started; everything it holds ends with the scope. */
export const make = Effect.fnUntraced(function*(
  options: SupervisorOptions
): Effect.fn.Return<Supervisor, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const clock = yield* Clock.Clock
  const wakeLater = yield* WakeLater.make
  const state = yield* SubscriptionRef.make<State>({ _tag: "Idle", role: undefined })
  let phase: Phase = { _tag: "Idle", next: Deferred.makeUnsafe() }
  let role: Role | undefined

  /** What a log line says of the session besides its own fields. */
  const about: Setups.About = (fields) => role === undefined ? fields : { session: role, ...fields }
  const setups = yield* Setups.make(about)

  const setState = (next: State) => SubscriptionRef.set(state, next)

  const finish = (error: AmqpError) => {
    if (phase._tag === "Over") return
    const before = phase
    phase = { _tag: "Over", error }
    if (before._tag !== "Live") Deferred.doneUnsafe(before.next, Effect.fail(error))
    setups.failAll(error)
  }

  /** Makes a session of a connection, and runs every setup on it before anybody else sees it. */
  const open = Effect.fnUntraced(function*(dialled: Dialled, sessionScope: Scope.Scope) {
    const session = new Session({
      epoch: options.nextEpoch(),
      address: { host: dialled.endpoint.host, port: dialled.endpoint.port },
      vhost: dialled.endpoint.vhost,
      username: dialled.endpoint.username,
      connectionName: options.connectionName,
      heartbeat: options.heartbeat,
      operationTimeout: options.operationTimeout,
      scope: sessionScope,
      driver: dialled.connection,
      lifeline: dialled.lifeline,
      goodbyes: dialled.goodbyes
    })
    dialled.lifeline.whenEnded(() => {
      session.noteEnd()
      if (phase._tag === "Live" && phase.session === session) {
        phase = { _tag: "Waiting", next: Deferred.makeUnsafe() }
      }
    })
    if (options.credentials !== undefined) {
      yield* Effect.forkIn(keepFresh(session, dialled.endpoint.expires, options.credentials), sessionScope)
    }
    yield* setups.runAll(session)
    return session
  })

  /** Announces a session to everybody, and follows it to its end. */
  const announce = Effect.fnUntraced(function*(session: Session, { connection, lifeline }: Dialled) {
    const connected: Extract<State, { _tag: "Connected" }> = {
      _tag: "Connected",
      role,
      epoch: session.epoch,
      address: session.address,
      serverProperties: connection.serverProperties
    }
    const waiting = phase._tag === "Waiting" ? phase.next : undefined
    if (waiting !== undefined) phase = { _tag: "Live", session }
    session.trial.open()
    yield* setState({ ...connected, role })
    // Whoever waited for the session finds the state as it is.
    if (waiting !== undefined) Deferred.doneUnsafe(waiting, Effect.succeed(session))
    yield* Effect.logInfo(
      "AMQP connected",
      about({
        epoch: session.epoch,
        host: session.address.host,
        port: session.address.port,
        product: connection.serverProperties["product"],
        version: connection.serverProperties["version"]
      })
    )
    yield* Stream.runForEach(lifeline.alarms, (alarm) =>
      alarm === undefined
        ? Effect.andThen(setState({ ...connected, role }), Effect.logInfo("AMQP connection unblocked", about({})))
        : Effect.andThen(
          setState({ _tag: "Blocked", role, epoch: session.epoch, address: session.address, reason: alarm }),
          Effect.logWarning("AMQP connection blocked by the broker", about({ reason: alarm }))
        ))
  })

  /** One session, from the end of the dialling to its own end. */
  const serve = Effect.fnUntraced(function*(dialled: Dialled, sessionScope: Scope.Scope) {
    const since = Monotonic.millis(clock)
    const session = yield* open(dialled, sessionScope)
    let uptime: number | undefined
    if (session.isAlive) {
      const announcedAt = Monotonic.millis(clock)
      yield* announce(session, dialled)
      uptime = Monotonic.millis(clock) - announcedAt
      // The end of the session's scope would take away what is yet to be judged, and it would not count.
      yield* setups.judged
    }
    return {
      cause: session.ended!,
      uptime,
      isOutageOpen: setups.isOutageOpen(since),
      isBlamedOnUse: session.isBlamedOnUse
    } satisfies Ended
  })

  // One line for each new cause of an outage: the same line every second would hide the others.
  let lastReason: string | undefined

  /** Waits for what the budget says comes next; fails because it says that nothing does. */
  const pause = Effect.fnUntraced(function*(budget: RetryBudget, cause: AmqpError) {
    yield* wait(budget, cause, yield* budget.next(cause))
  })

  const wait = Effect.fnUntraced(function*(budget: RetryBudget, cause: AmqpError, delay: Duration.Duration) {
    if (budget.purpose === "retry") {
      yield* setState({ _tag: "Reconnecting", role, attempt: budget.attempts + 1, cause, nextDelay: delay })
    }
    const log = cause.message === lastReason ? Effect.logDebug : Effect.logWarning
    lastReason = cause.message
    yield* log(
      "AMQP connection attempt failed",
      about({
        attempt: budget.attempts,
        reason: cause.message,
        nextDelayMillis: Duration.toMillis(delay)
      })
    )
    yield* Effect.sleep(delay)
  })

  /** Attempts under one budget until one succeeds. */
  const dialUnder = Effect.fnUntraced(function*(
    budget: RetryBudget
  ): Effect.fn.Return<Dialled, AmqpError, Scope.Scope> {
    for (;;) {
      budget.attempts++
      if (budget.purpose === "startup" && budget.attempts > 1) {
        yield* setState({ _tag: "Connecting", role, attempt: budget.attempts })
      }
      const result = yield* Effect.result(options.dialler.dial(wakeLater))
      if (result._tag === "Success") return result.success
      yield* pause(budget, result.failure)
    }
  })

  const cycle = (budget: RetryBudget) =>
    Effect.scopedWith((sessionScope) =>
      Effect.flatMap(
        Scope.provide(dialUnder(budget), sessionScope),
        (dialled) => serve(dialled, sessionScope)
      )
    )

  const supervise: Effect.Effect<never, AmqpError> = Effect.gen(function*() {
    let budget = yield* RetryBudgets.first(options.schedules)
    yield* setState({ _tag: "Connecting", role, attempt: 1 })
    let ended: Ended = yield* cycle(budget)
    // A session that nobody has seen ends no start-up: it is one more attempt that failed.
    while (ended.uptime === undefined && !ended.isBlamedOnUse) {
      yield* pause(budget, ended.cause)
      ended = yield* cycle(budget)
    }
    budget = yield* RetryBudgets.afresh(options.schedules)
    for (let isFirst = true;; isFirst = false) {
      yield* Effect.logWarning(
        "AMQP connection lost",
        about({ reason: ended.cause.message, uptimeMillis: ended.uptime ?? 0 })
      )
      lastReason = ended.cause.message
      const steadiness = yield* RetryBudgets.steadiness(options.schedules, ended.cause)
      // There was no outage before the first session that it would have to end.
      const isSteady = (ended.uptime ?? 0) >= (isFirst ? steadiness.firstDelay : steadiness.millis)
      if (ended.isBlamedOnUse) {
        // The broker answers, and a message or an operation ends a few sessions at most: mistakes end no connection.
        budget = yield* RetryBudgets.afresh(options.schedules)
        yield* wait(budget, ended.cause, Duration.millis(steadiness.millis))
      } else if (isSteady && !ended.isOutageOpen) {
        budget = yield* RetryBudgets.afresh(options.schedules)
        yield* setState({ _tag: "Reconnecting", role, attempt: 1, cause: ended.cause, nextDelay: Duration.zero })
      } else {
        yield* pause(budget, ended.cause)
      }
      ended = yield* cycle(budget)
    }
  })

  const start = Effect.suspend(() => {
    if (phase._tag !== "Idle") return Effect.void
    phase = { _tag: "Waiting", next: phase.next }
    return supervise.pipe(
      Effect.onExit((exit) => {
        if (Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)) {
          finish(closedByUs())
          return setState({ _tag: "Closed", role })
        }
        const failure = Exit.findErrorOption(exit)
        const error = failure._tag === "Some" ? failure.value : diedOf(exit)
        finish(error)
        return Effect.andThen(
          setState({ _tag: "Failed", role, cause: error }),
          Effect.logError("AMQP connection abandoned", about({ reason: error.message }))
        )
      }),
      Effect.ignoreCause,
      Effect.annotateLogs({ connection: options.connectionName }),
      Effect.forkIn(scope, { startImmediately: true }),
      // Registered after the fiber, so that intake stops before the session is closed.
      Effect.andThen(Scope.addFinalizer(scope, Effect.sync(() => finish(closedByUs()))))
    )
  })

  return {
    state,
    role: () => role,
    assign: (to) =>
      Effect.suspend(() => {
        role = to
        return SubscriptionRef.update(state, (state) => ({ ...state, role: to }))
      }),
    start,
    session: Effect.suspend(() =>
      phase._tag === "Live"
        ? Effect.succeed(phase.session)
        : phase._tag === "Over"
        ? Effect.fail(phase.error)
        : Deferred.await(phase.next)
    ),
    add: (registration) =>
      Effect.suspend(() => {
        if (phase._tag === "Over") {
          Setups.settle(registration, Exit.fail(phase.error))
          return Effect.void
        }
        setups.add(registration)
        if (phase._tag !== "Live") return Effect.void
        const session = phase.session
        return Effect.asVoid(
          Effect.forkIn(setups.runLate(registration, session), session.scope, { startImmediately: true })
        )
      }),
    remove: setups.remove
  }
})

// Besides the schedules only the driver runs here that is not ours.
const diedOf = (exit: Exit.Exit<never, AmqpError>): AmqpError =>
  invalid("driver", `it died: ${Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : ""}`)

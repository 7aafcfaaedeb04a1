/**
 * The one recovery mechanism: the only code that dials, and the only code that runs setups.
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
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { AmqpDriver, DriverConnection } from "../../AmqpDriver.ts"
import { AmqpError, ConnectionClosed, ConnectTimeout, ReconnectAbandoned } from "../../AmqpError.ts"
import { invalid } from "../checkOptions.ts"
import * as Monotonic from "../monotonic.ts"
import * as ScheduleDelays from "../scheduleDelays.ts"
import * as WakeLater from "../wakeLater.ts"
import type { Endpoint } from "./endpoints.ts"
import * as Lifeline from "./lifeline.ts"
import type { SessionDeadlines } from "./session.ts"
import { Session } from "./session.ts"
import type { Role, State } from "./state.ts"

/** Everything a supervisor needs to dial; the same for both roles. */
export interface SupervisorOptions {
  readonly driver: AmqpDriver
  readonly endpoints: ReadonlyArray<Endpoint>
  readonly connectionName: string
  readonly heartbeat: Duration.Duration
  readonly connectTimeout: Duration.Duration
  readonly deadlines: SessionDeadlines
  /** For the first session; without it that is retried as after a loss, because the connection has been up. */
  readonly startup: Schedule.Schedule<unknown, AmqpError> | undefined
  readonly reconnect: Schedule.Schedule<unknown, AmqpError>
  /** Shared by the supervisors of one connection, so that no two sessions have the same epoch. */
  readonly nextEpoch: () => number
}

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

/** One role's supervisor. */
export interface Supervisor {
  readonly state: SubscriptionRef.SubscriptionRef<State>
  readonly role: () => Role | undefined
  readonly assign: (role: Role) => Effect.Effect<void>
  /** Begin to dial; once. */
  readonly start: Effect.Effect<void>
  readonly isStarted: () => boolean
  /** The live session, as soon as there is one; fails when there will be none. */
  readonly session: Effect.Effect<Session, AmqpError>
  readonly add: (registration: Registration) => Effect.Effect<void>
  /** Forget a setup and release what it acquired. */
  readonly remove: (registration: Registration) => Effect.Effect<void>
}

type Phase =
  | { readonly _tag: "Waiting"; readonly next: Deferred.Deferred<Session, AmqpError> }
  | { readonly _tag: "Live"; readonly session: Session }
  | { readonly _tag: "Over"; readonly error: AmqpError }

interface Dialled {
  readonly endpoint: Endpoint
  readonly connection: DriverConnection
  readonly lifeline: Lifeline.Lifeline
}

/** The next delay of a schedule, or none when it is over. */
type Step = (now: number, cause: AmqpError) => Effect.Effect<Duration.Duration | undefined, AmqpError>

// A schedule is the application's own code, and may throw.
const startSchedule = (
  option: "startup" | "retry",
  schedule: Schedule.Schedule<unknown, AmqpError>
): Effect.Effect<Step> =>
  Effect.map(ScheduleDelays.start(schedule), (step): Step => (now, cause) =>
    Effect.catchDefect(
      step(now, cause),
      (defect) => Effect.fail(invalid(option, `its schedule threw: ${String(defect)}`))
    ))

// A setup that the broker refuses for now (a lock that a dead connection still holds) may heal until the broker has
// noticed: that takes it two heartbeats.
const healingHeartbeats = 3

// A session must last this long to end its outage, even if the schedule has no delays.
const steadyMillis = 1000

/** Make a supervisor that is idle until started; everything it holds ends with the scope. */
export const make = Effect.fnUntraced(function*(
  options: SupervisorOptions
): Effect.fn.Return<Supervisor, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const clock = yield* Clock.Clock
  const wakeLater = yield* WakeLater.make
  const state = yield* SubscriptionRef.make<State>({ _tag: "Idle", role: undefined })
  const registrations: Array<Registration> = []
  const placed = new Map<Registration, Scope.Closeable>()
  let phase: Phase = { _tag: "Waiting", next: Deferred.makeUnsafe() }
  let role: Role | undefined
  let started = false

  const setState = (next: State) => SubscriptionRef.set(state, next)

  const finish = (error: AmqpError) => {
    if (phase._tag === "Over") return
    const before = phase
    phase = { _tag: "Over", error }
    if (before._tag === "Waiting") Deferred.doneUnsafe(before.next, Effect.fail(error))
    for (const registration of registrations.splice(0)) settle(registration, Exit.fail(error))
  }

  const settle = (registration: Registration, exit: Exit.Exit<void, AmqpError>) => {
    Deferred.doneUnsafe(registration.outcome, exit)
    if (Exit.isFailure(exit)) {
      const error = Exit.findErrorOption(exit)
      if (error._tag === "Some") registration.onFailed(error.value)
    }
  }

  const forget = (registration: Registration) => {
    const index = registrations.indexOf(registration)
    if (index >= 0) registrations.splice(index, 1)
  }

  const runSetup = (registration: Registration, session: Session, since: number): Effect.Effect<void> =>
    Effect.gen(function*() {
      // It may have gone while it waited for its turn.
      if (!registrations.includes(registration)) return
      const setupScope = yield* Scope.fork(session.scope)
      placed.set(registration, setupScope)
      const acquired = yield* Scope.fork(setupScope)
      // In a fiber that ends with its registration or its session, so that nobody waits longer than that for a setup.
      const running = yield* registration.setup(session).pipe(
        Scope.provide(acquired),
        Effect.forkIn(setupScope, { startImmediately: true })
      )
      const exit = yield* Effect.raceFirst(
        Fiber.await(running),
        Effect.andThen(session.over, Effect.sync(() => Exit.fail(session.ended!)))
      )
      // An operation may fail a moment before its driver says that the connection is gone.
      if (Exit.isFailure(exit)) yield* Effect.yieldNow
      if (Exit.isSuccess(exit)) return settle(registration, exit)
      yield* Scope.close(setupScope, exit)
      if (placed.get(registration) === setupScope) placed.delete(registration)
      if (!session.isAlive || !registrations.includes(registration)) return
      const error = Exit.findErrorOption(exit)
      const healing = Duration.toMillis(session.heartbeat) * healingHeartbeats
      const waited = Monotonic.millis(clock) - since
      // Only a maker that still waits may be told of what will pass: a component at work has no way back.
      const isAtWork = Deferred.isDoneUnsafe(registration.outcome)
      if (error._tag === "Some" && error.value.isRetryable && (isAtWork || waited < healing)) {
        const pause = waited < healing ? Duration.seconds(1) : session.heartbeat
        yield* Effect.logWarning("AMQP setup refused for now, trying again", {
          reason: error.value.message,
          nextDelayMillis: Duration.toMillis(pause)
        })
        yield* Effect.forkIn(
          Effect.andThen(Effect.sleep(pause), runSetup(registration, session, since)),
          session.scope
        )
        return
      }
      if (isAtWork) yield* Effect.logError("AMQP setup failed and will not be tried again", exit.cause)
      forget(registration)
      settle(registration, exit)
    })

  const dialOne = (endpoint: Endpoint): Effect.Effect<Dialled, AmqpError, Scope.Scope> =>
    Effect.gen(function*() {
      const lifeline = yield* Lifeline.make(wakeLater)
      const connection = yield* Effect.acquireRelease(
        Effect.timeoutOrElse(
          options.driver.connect({
            host: endpoint.host,
            port: endpoint.port,
            tls: endpoint.tls,
            vhost: endpoint.vhost,
            username: endpoint.username,
            password: endpoint.password,
            heartbeat: Duration.toSeconds(options.heartbeat),
            connectionName: options.connectionName
          }, lifeline),
          {
            duration: options.connectTimeout,
            orElse: () =>
              Effect.fail(
                new AmqpError({
                  operation: "connect",
                  reason: new ConnectTimeout({
                    address: { host: endpoint.host, port: endpoint.port },
                    millis: Duration.toMillis(options.connectTimeout)
                  })
                })
              )
          }
        ),
        (connection) =>
          lifeline.ended === undefined
            ? Effect.andThen(
              Effect.timeoutOption(connection.close, options.deadlines.close),
              Effect.sync(() => connection.destroyUnsafe(closedByUs()))
            )
            : Effect.void,
        { interruptible: true }
      )
      return { endpoint, connection, lifeline }
    })

  /** One attempt: every endpoint once, in shuffled order. */
  const dial: Effect.Effect<Dialled, AmqpError, Scope.Scope> = Effect.gen(function*() {
    const endpoints = yield* Random.shuffle(options.endpoints)
    let failure: AmqpError | undefined
    for (const endpoint of endpoints) {
      const exit = yield* Effect.result(dialOne(endpoint))
      if (exit._tag === "Success") return exit.success
      if (failure === undefined || !failure.isRetryable) failure = exit.failure
    }
    return yield* failure!
  })

  /** Serve one session until it ends; returns why, and for how many milliseconds it was announced, if it was. */
  const serve = Effect.fnUntraced(function*(dialled: Dialled, sessionScope: Scope.Scope) {
    const { lifeline } = dialled
    const session = new Session({
      epoch: options.nextEpoch(),
      address: { host: dialled.endpoint.host, port: dialled.endpoint.port },
      username: dialled.endpoint.username,
      connectionName: options.connectionName,
      heartbeat: options.heartbeat,
      scope: sessionScope,
      driver: dialled.connection,
      lifeline,
      deadlines: options.deadlines
    })
    lifeline.whenEnded(() => {
      if (phase._tag === "Live" && phase.session === session) {
        phase = { _tag: "Waiting", next: Deferred.makeUnsafe() }
      }
    })

    const begun = Monotonic.millis(clock)
    // Components come and go while setups run, so the list is asked again each time.
    const done = new Set<Registration>()
    for (;;) {
      const registration = session.isAlive ? registrations.find((registration) => !done.has(registration)) : undefined
      if (registration === undefined) break
      done.add(registration)
      yield* runSetup(registration, session, begun)
      // The broker hung up on what this setup asked of it, alone as it was, and would do so on every session.
      const ended = session.ended
      if (
        ended?.reason._tag === "ConnectionLost" && !ended.isRetryable && !Deferred.isDoneUnsafe(registration.outcome)
      ) {
        forget(registration)
        settle(registration, Exit.fail(ended))
      }
    }
    if (!session.isAlive) return { cause: session.ended!, uptime: undefined }

    const announcedAt = Monotonic.millis(clock)
    const connected: State = {
      _tag: "Connected",
      role,
      epoch: session.epoch,
      address: session.address,
      serverProperties: dialled.connection.serverProperties
    }
    const waiting = phase._tag === "Waiting" ? phase.next : undefined
    if (waiting !== undefined) phase = { _tag: "Live", session }
    yield* setState({ ...connected, role })
    // Whoever waited for the session finds the state as it is.
    if (waiting !== undefined) Deferred.doneUnsafe(waiting, Effect.succeed(session))
    yield* Effect.logInfo("AMQP connected", {
      epoch: session.epoch,
      host: session.address.host,
      port: session.address.port,
      product: dialled.connection.serverProperties["product"],
      version: dialled.connection.serverProperties["version"]
    })

    yield* Stream.runForEach(lifeline.alarms, (alarm) =>
      alarm === undefined
        ? Effect.andThen(setState({ ...connected, role }), Effect.logInfo("AMQP connection unblocked"))
        : Effect.andThen(
          setState({ _tag: "Blocked", role, epoch: session.epoch, address: session.address, reason: alarm }),
          Effect.logWarning("AMQP connection blocked by the broker", { reason: alarm })
        ))
    return { cause: session.ended!, uptime: Monotonic.millis(clock) - announcedAt }
  })

  /** Attempts under one budget until one succeeds. */
  const dialUnder = Effect.fnUntraced(function*(
    step: Step,
    budget: { readonly startup: boolean; attempts: number }
  ): Effect.fn.Return<Dialled, AmqpError, Scope.Scope> {
    for (;;) {
      budget.attempts++
      if (budget.startup && budget.attempts > 1) {
        yield* setState({ _tag: "Connecting", role, attempt: budget.attempts })
      }
      const result = yield* Effect.result(dial)
      if (result._tag === "Success") return result.success
      yield* pause(step, budget, result.failure)
    }
  })

  /** Wait for what the schedule says comes next, or fail because it says that nothing does. */
  const pause = Effect.fnUntraced(function*(
    step: Step,
    budget: { readonly startup: boolean; readonly attempts: number },
    cause: AmqpError
  ): Effect.fn.Return<void, AmqpError> {
    if (budget.startup && !cause.isRetryable) return yield* cause
    const delay = yield* step(clock.currentTimeMillisUnsafe(), cause)
    if (delay === undefined) {
      return yield* budget.startup ? cause : new AmqpError({
        operation: "reconnect",
        reason: new ReconnectAbandoned({ attempts: budget.attempts, last: cause.reason })
      })
    }
    if (!budget.startup) {
      yield* setState({ _tag: "Reconnecting", role, attempt: budget.attempts + 1, cause, nextDelay: delay })
    }
    yield* Effect.logWarning("AMQP connection attempt failed", {
      attempt: budget.attempts,
      reason: cause.message,
      nextDelayMillis: Duration.toMillis(delay)
    })
    yield* Effect.sleep(delay)
  })

  /** One session, from dialling to its end. */
  const cycle = (step: Step, budget: { readonly startup: boolean; attempts: number }) =>
    Effect.scopedWith((sessionScope) =>
      Effect.flatMap(
        Scope.provide(dialUnder(step, budget), sessionScope),
        (dialled) => serve(dialled, sessionScope)
      )
    )

  const supervise: Effect.Effect<never, AmqpError> = Effect.gen(function*() {
    let budget: { readonly startup: boolean; attempts: number } = {
      startup: options.startup !== undefined,
      attempts: 0
    }
    let step = options.startup === undefined
      ? yield* startSchedule("retry", options.reconnect)
      : yield* startSchedule("startup", options.startup)
    yield* setState({ _tag: "Connecting", role, attempt: 1 })
    let ended = yield* cycle(step, budget)
    // A session that nobody has seen ends no start-up: it is one more attempt that failed.
    while (ended.uptime === undefined) {
      yield* pause(step, budget, ended.cause)
      ended = yield* cycle(step, budget)
    }
    step = yield* startSchedule("retry", options.reconnect)
    budget = { startup: false, attempts: 0 }
    for (let isFirst = true;; isFirst = false) {
      yield* Effect.logWarning("AMQP connection lost", { reason: ended.cause.message, uptimeMillis: ended.uptime ?? 0 })
      const fresh = yield* startSchedule("retry", options.reconnect)
      const first = yield* fresh(clock.currentTimeMillisUnsafe(), ended.cause)
      // There was no outage before the first session that it would have to end.
      const steady = Math.max(isFirst ? 0 : steadyMillis, first === undefined ? 0 : Duration.toMillis(first))
      if ((ended.uptime ?? 0) >= steady) {
        step = yield* startSchedule("retry", options.reconnect)
        budget = { startup: false, attempts: 0 }
        yield* setState({ _tag: "Reconnecting", role, attempt: 1, cause: ended.cause, nextDelay: Duration.zero })
      } else {
        // A session that did not even last that long has not ended the outage: without this a broker that accepts
        // and hangs up would be dialled without a pause and without an end.
        yield* pause(step, budget, ended.cause)
      }
      ended = yield* cycle(step, budget)
    }
  })

  const start = Effect.suspend(() => {
    if (started) return Effect.void
    started = true
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
          Effect.logError("AMQP connection abandoned", { reason: error.message })
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
    isStarted: () => started,
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
          settle(registration, Exit.fail(phase.error))
          return Effect.void
        }
        registrations.push(registration)
        if (phase._tag !== "Live") return Effect.void
        const session = phase.session
        return Effect.asVoid(
          Effect.forkIn(runSetup(registration, session, Monotonic.millis(clock)), session.scope, {
            startImmediately: true
          })
        )
      }),
    remove: (registration) =>
      Effect.suspend(() => {
        forget(registration)
        const setupScope = placed.get(registration)
        placed.delete(registration)
        return setupScope === undefined ? Effect.void : Scope.close(setupScope, Exit.void)
      })
  }
})

// Besides the schedules only the driver runs here that is not ours.
const diedOf = (exit: Exit.Exit<never, AmqpError>): AmqpError =>
  invalid("driver", `it died: ${Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : ""}`)

const closedByUs = (): AmqpError => new AmqpError({ operation: "connection", reason: new ConnectionClosed() })

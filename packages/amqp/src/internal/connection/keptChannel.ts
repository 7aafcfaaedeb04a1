/**
 * A channel that lives on: opened on every session of its role, and opened again when the broker closes it while its
 * session lives. It recovers by registering with the connection, as everything does.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { DriverChannel, DriverChannelEvents } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import * as Monotonic from "../monotonic.ts"
import * as WakeLater from "../wakeLater.ts"
import { steadyMillis } from "./patience.ts"
import type { AmqpConnection } from "./service.ts"
import type { Session } from "./session.ts"
import type { Role } from "./state.ts"

/** Who uses the channel. */
export interface ChannelOwner {
  readonly role: Role
  readonly confirm: boolean
  /** The events of the next channel, asked for before it is opened. */
  readonly events: () => DriverChannelEvents
  /** Makes a new channel ready; what is acquired is released when the channel ends, before it is closed. */
  readonly onOpen: (channel: DriverChannel, session: Session) => Effect.Effect<void, AmqpError, Scope.Scope>
  /**
   * Says if the owner goes on when a channel that was ready before cannot be made ready again, `waited` milliseconds
   * after it was lost or its session began. Without it the connection judges the first try of a session, as of any
   * setup, and later ones go on while the error is retryable.
   */
  readonly mayHeal?: (error: AmqpError, waited: number, session: Session) => boolean
  /** Says if the channel was closed on purpose or because of a message: the next one needs no pause. */
  readonly wasReplaced?: () => boolean
  /** There will be no other channel. */
  readonly onFailed: (error: AmqpError) => void
}

// A channel that lives longer than this is opened again at once, others after a pause that doubles up to it, unless
// there is nothing to wait for.
const firstPauseMillis = 10

/** Keeps a channel open for its owner until the scope ends; returns when the first one is ready. */
export const keep = (
  connection: AmqpConnection,
  owner: ChannelOwner
): Effect.Effect<void, AmqpError, Scope.Scope> => {
  let wasReady = false
  let isOver = false
  const fail = (error: AmqpError): void => {
    isOver = true
    owner.onFailed(error)
  }
  const runOn = Effect.fnUntraced(function*(session: Session): Effect.fn.Return<void, AmqpError, Scope.Scope> {
    if (isOver) return
    const clock = yield* Clock.Clock
    const wakeLater = yield* WakeLater.make
    const first = Deferred.makeUnsafe<void, AmqpError>()

    const once = Effect.gen(function*() {
      const closed = Deferred.makeUnsafe<void>()
      const events = owner.events()
      const channel = yield* session.openChannel({ confirm: owner.confirm }, {
        ...events,
        onClose(error) {
          events.onClose(error)
          wakeLater(() => Deferred.doneUnsafe(closed, Effect.void))
        }
      })
      yield* owner.onOpen(channel, session)
      wasReady = true
      Deferred.doneUnsafe(first, Effect.void)
      yield* Deferred.await(closed)
    }).pipe(Effect.scoped)

    const again = Effect.gen(function*() {
      let pause = firstPauseMillis
      let lostAt = Monotonic.millis(clock)
      for (;;) {
        const opened = Monotonic.millis(clock)
        const exit = yield* Effect.exit(once)
        if (!session.isAlive) {
          Deferred.doneUnsafe(first, Effect.fail(session.ended!))
          return
        }
        if (Exit.isFailure(exit)) {
          const error = Exit.findErrorOption(exit)
          const waited = Monotonic.millis(clock) - lostAt
          if (wasReady && error._tag === "Some" && owner.mayHeal?.(error.value, waited, session) === true) {
            // Nobody else waits for this channel: its owner says that it is not there yet.
            Deferred.doneUnsafe(first, Effect.void)
          } else {
            // The first failure belongs to the setup, which the connection judges.
            if (Deferred.doneUnsafe(first, exit)) return
            if (error._tag === "Some" && (owner.mayHeal !== undefined || !error.value.isRetryable)) {
              return fail(error.value)
            }
          }
        } else lostAt = Monotonic.millis(clock)
        const wasSteady = Monotonic.millis(clock) - opened >= steadyMillis
        if (wasSteady || (Exit.isSuccess(exit) && owner.wasReplaced?.() === true)) pause = firstPauseMillis
        if (wasSteady) continue
        yield* Effect.sleep(pause)
        pause = Math.min(pause * 2, steadyMillis)
      }
    })

    yield* again.pipe(
      // The connection waits for the first channel, even if its owner goes away before there is one.
      Effect.onExit(() => Effect.sync(() => Deferred.doneUnsafe(first, Exit.interrupt()))),
      Effect.forkScoped({ startImmediately: true })
    )
    yield* Deferred.await(first)
  })
  return connection.register(owner.role, runOn, fail)
}

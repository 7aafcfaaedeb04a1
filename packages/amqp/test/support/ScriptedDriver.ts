/**
 * A driver without a broker: its connects succeed or fail as a script says, and its sessions end when the script says.
 * It notes when it was dialled, and how much of what it handed out is still held.
 */
import type { Scope } from "effect"
import { Clock, Effect, FiberSet } from "effect"
import type { AmqpDriver } from "effect-amqp"
import { AmqpError } from "effect-amqp"

/**
 * What happens at one dial: it is refused, it succeeds and the session lasts so many milliseconds, or it succeeds and the
 * session is over before anybody can see it.
 */
export type Dial = { readonly refused: true } | { readonly lasts: number } | { readonly hangsUp: true }

export interface Log {
  /** When each dial happened, in milliseconds of the clock. */
  readonly dials: Array<number>
  /** Sessions that are open. */
  open: number
  /** Events that may still be told to the library. */
  listeners: number
}

const refused = new AmqpError.AmqpError({
  operation: "connect",
  reason: new AmqpError.ConnectionRefused({ address: { host: "scripted", port: 5672 }, detail: "ECONNREFUSED" })
})

export const lost = new AmqpError.AmqpError({
  operation: "connection",
  reason: new AmqpError.ConnectionLost({ replyCode: undefined, replyText: "read ECONNRESET" })
})

/** Make the driver; dials beyond the script are refused. */
export const make = (
  script: ReadonlyArray<Dial>,
  log: Log
): Effect.Effect<AmqpDriver.AmqpDriver, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const fork = yield* FiberSet.makeRuntime<never>()
    let next = 0
    return {
      name: "scripted",
      connect: (_options, events) =>
        Effect.suspend(() => {
          log.dials.push(clock.currentTimeMillisUnsafe())
          const dial = script[next++] ?? { refused: true }
          if ("refused" in dial) return Effect.fail(refused)
          let over = false
          const end = (error: AmqpError.AmqpError) => {
            if (over) return
            over = true
            log.open--
            log.listeners--
            events.onClose(error)
          }
          log.open++
          log.listeners++
          if ("hangsUp" in dial) end(lost)
          else fork(Effect.andThen(Effect.sleep(dial.lasts), Effect.sync(() => end(lost))))
          return Effect.succeed<AmqpDriver.DriverConnection>({
            serverProperties: { product: "scripted" },
            frameMax: 131072,
            openChannel: () => Effect.fail(lost),
            updateSecret: () => Effect.fail(lost),
            close: Effect.sync(() =>
              end(new AmqpError.AmqpError({ operation: "close", reason: new AmqpError.ConnectionClosed() }))
            ),
            destroyUnsafe: end
          })
        })
    }
  })

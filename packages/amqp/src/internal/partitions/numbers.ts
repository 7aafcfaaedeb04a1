/**
 * The number of an instance: the lowest that no other instance of the group has. RabbitMQ deals the numbers out: whoever has
 * the exclusive queue of a number has the number, until its session ends.
 *
 * @see https://www.rabbitmq.com/docs/queues#exclusive-queues
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { noChannelEvents } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import { AmqpConnection } from "../connection/service.ts"
import type { Session } from "../connection/session.ts"

// How many numbers are asked about at once.
const portion = 32

const queueOf = (group: string, number: number): string => `${group}.instance.${number}`

/**
 * Finds the numbers from one on that nobody has. A message for a queue that is not there comes back, and costs nothing; to
 * check the queue would close a channel, and put an error into the broker's log.
 */
const freeFrom = (session: Session, group: string, from: number): Effect.Effect<ReadonlyArray<number>, AmqpError> =>
  Effect.scoped(Effect.gen(function*() {
    const free: Array<number> = []
    const prefix = queueOf(group, from).length - String(from).length
    const channel = yield* session.openChannel({ confirm: false }, {
      ...noChannelEvents,
      onReturn: ({ routingKey }) => void free.push(Number(routingKey.slice(prefix)))
    })
    for (let number = from; number < from + portion; number++) {
      channel.publishUnsafe({
        exchange: "",
        routingKey: queueOf(group, number),
        mandatory: true,
        properties: {},
        body: new Uint8Array()
      })
    }
    // What the broker answers later on the channel comes after the messages that it has returned.
    yield* session.bounded(`find a number in ${group}`, channel.prefetch(1))
    return free
  })).pipe(
    // Who may not write to the default exchange tries one number after the other.
    Effect.catch((error) =>
      error.reason._tag === "AccessRefused"
        ? Effect.succeed(Array.from({ length: portion }, (_, at) => from + at))
        : Effect.fail(error)
    )
  )

/** Takes a number for as long as the scope lasts; says if another instance was faster. */
const take = Effect.fnUntraced(function*(
  session: Session,
  group: string,
  number: number
): Effect.fn.Return<boolean, AmqpError, Scope.Scope> {
  const queue = queueOf(group, number)
  const scope = yield* Scope.fork(yield* Effect.scope)
  return yield* Effect.gen(function*() {
    const channel = yield* session.openChannel({ confirm: false }, noChannelEvents)
    yield* session.bounded(
      `take number ${number} in ${group}`,
      Effect.andThen(
        channel.declareQueue({ queue, durable: false, exclusive: true, autoDelete: true, arguments: {} }),
        // An exclusive queue keeps other connections out, and an exclusive consumer the other instances on this one.
        channel.consume({
          queue,
          consumerTag: `${queue} ${crypto.randomUUID()}`,
          noAck: true,
          exclusive: true,
          arguments: {}
        }, { onDelivery() {}, onCancel() {} })
      )
    )
    return true
  }).pipe(
    Scope.provide(scope),
    Effect.catch((error) =>
      Effect.andThen(
        Scope.close(scope, Exit.void),
        error.reason._tag === "ResourceLocked" ? Effect.succeed(false) : Effect.fail(error)
      )
    )
  )
})

/** Takes a number on every session until the scope ends, and tells it. */
export const register = (
  group: string,
  onNumber: (number: number) => void
): Effect.Effect<void, AmqpError, AmqpConnection | Scope.Scope> =>
  Effect.flatMap(AmqpConnection, (connection) =>
    connection.register("consume", (session) =>
      Effect.gen(function*() {
        for (let from = 0;; from += portion) {
          for (const number of yield* freeFrom(session, group, from)) {
            if (yield* take(session, group, number)) return onNumber(number)
          }
        }
      })))

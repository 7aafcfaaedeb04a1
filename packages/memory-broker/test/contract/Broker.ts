/**
 * The broker that a contract test talks to: the memory broker or a real RabbitMQ. A test sees only this, so it cannot
 * know which.
 */
import type { Duration, Effect, Redacted, Scope } from "effect"
import { Context } from "effect"
import type { AmqpDriver } from "effect-amqp/AmqpDriver"

export interface Permissions {
  readonly configure: string
  readonly write: string
  readonly read: string
}

export interface Detour {
  readonly host: string
  readonly port: number
  readonly cutOff: Effect.Effect<void>
}

export class Broker extends Context.Service<Broker, {
  readonly driver: AmqpDriver
  readonly host: string
  readonly port: number
  /** A virtual host that no other test uses. */
  readonly vhost: string
  /** The major version, and the minor one as hundredths: 4.03 is RabbitMQ 4.3. */
  readonly version: number
  /** Let time pass. */
  readonly elapse: (duration: Duration.Input) => Effect.Effect<void>
  /** Wait until everything that is under way has arrived. */
  readonly settle: Effect.Effect<void>
  readonly addUser: (
    name: string,
    password: Redacted.Redacted<string>,
    permissions: Permissions | undefined
  ) => Effect.Effect<void>
  /** Another way to the broker, which can be cut off: then nothing goes through, and nobody hears of it. */
  readonly detour: Effect.Effect<Detour, never, Scope.Scope>
  readonly forceClose: (text: string) => Effect.Effect<void>
  /** Stop the broker in order and start it again, with whatever it has kept. */
  readonly restart: Effect.Effect<void>
  /** Give channels that are opened from now on a short acknowledgement timeout. */
  readonly shortenAckTimeout: Effect.Effect<void>
  /** A timeout for `x-consumer-timeout` that is shorter than the short one; milliseconds. */
  readonly ownAckTimeout: number
  /** Wait until the short acknowledgement timeout is over for everything that is out. */
  readonly outlastAckTimeout: Effect.Effect<void>
  readonly limitConnectionsOfUser: (name: string, limit: number) => Effect.Effect<void>
  readonly limitConnectionsOfVhost: (limit: number) => Effect.Effect<void>
  readonly limitConnectionsOfNode: (limit: number) => Effect.Effect<void>
  /** Let connections that are made from now on have so many channels. */
  readonly limitChannelsOfConnection: (limit: number) => Effect.Effect<void>
  readonly limitChannelsOfUser: (name: string, limit: number) => Effect.Effect<void>
  readonly limitChannelsOfNode: (limit: number) => Effect.Effect<void>
  /** Stop the virtual host of the test while the node runs on. */
  readonly stopVhost: Effect.Effect<void>
  readonly startVhost: Effect.Effect<void>
  readonly raiseMemoryAlarm: Effect.Effect<void>
  readonly clearMemoryAlarm: Effect.Effect<void>
}>()("effect-amqp-memory/test/Broker") {}

/** A version as text, such as `3.10.8` or `4.0`, as a number that compares. */
export const versionNumber = (version: string): number => {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  return major + minor / 100
}

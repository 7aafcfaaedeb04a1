/**
 * The broker's answer to a client that connects.
 */
import type { DriverConnectOptions } from "effect-amqp/AmqpDriver"
import type { AmqpErrorReason } from "effect-amqp/AmqpError"
import { AuthenticationRefused, ConnectionRefused, VhostRefused } from "effect-amqp/AmqpError"
import type { Broker } from "./broker.ts"
import type { VirtualHost } from "./virtualHost.ts"

/** The virtual host that a client gets, or why it is refused. */
export type Admission = { readonly vhost: VirtualHost } | { readonly refused: AmqpErrorReason }

/** A reply code and text that answer `connection.open`. */
type Refused = readonly [replyCode: number, replyText: string]

/** Decides about a client that connects. `isDown` is a broker that is not running. */
export const admit = (broker: Broker, isDown: boolean, options: DriverConnectOptions): Admission => {
  const { host, port, username, password, vhost: name } = options
  const { endpoints, faults } = broker
  const address = { host, port }
  if (isDown || faults.refusedConnects > 0 || endpoints.get(host, port) === "refuses") {
    if (!isDown && faults.refusedConnects > 0) faults.refusedConnects--
    return { refused: new ConnectionRefused({ address, detail: `connect ECONNREFUSED ${host}:${port}` }) }
  }
  if (!broker.accounts.authenticates(username, password)) {
    const replyText = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the " +
      "broker logfile."
    return { refused: new AuthenticationRefused({ address, replyText }) }
  }
  const vhost = broker.vhosts.get(name)
  const refused = refusal(broker, vhost, options)
  if (refused === undefined && vhost !== undefined) return { vhost }
  const [replyCode, replyText] = refused ?? [541, "INTERNAL_ERROR"]
  return { refused: new VhostRefused({ address, vhost: name, replyCode, replyText }) }
}

/** RabbitMQ's checks of `connection.open`, in its order. */
const refusal = (
  broker: Broker,
  vhost: VirtualHost | undefined,
  { username, vhost: name }: DriverConnectOptions
): Refused | undefined => {
  const { limits } = broker.faults
  const connections = Array.from(broker.connections)
  if (connections.length >= limits.node) {
    return [530, `NOT_ALLOWED - connection refused: node connection limit (${limits.node}) is reached`]
  }
  if (vhost === undefined) return [530, `NOT_ALLOWED - vhost ${name} not found`]
  const access = `access to vhost '${name}' refused for user '${username}'`
  if (connections.filter((one) => one.vhost === vhost).length >= limits.vhost) {
    return [530, `NOT_ALLOWED - ${access}: connection limit (${limits.vhost}) is reached`]
  }
  if (connections.filter((one) => one.user === username).length >= limits.user) {
    const limit = `user connection limit (${limits.user}) is reached`
    return [530, `NOT_ALLOWED - connection refused for user '${username}': ${limit}`]
  }
  if (!broker.accounts.mayUse(username, name)) return [530, `NOT_ALLOWED - ${access}`]
  return vhost.isDown ? [541, `INTERNAL_ERROR - ${access}: vhost '${name}' is down`] : undefined
}

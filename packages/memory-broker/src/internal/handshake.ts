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

/** Decide about a client that connects. `isDown` is a broker that is not running. */
export const admit = (broker: Broker, isDown: boolean, options: DriverConnectOptions): Admission => {
  const { host, port, username, password, vhost: name } = options
  const address = { host, port }
  if (isDown || broker.faults.refusedConnects > 0) {
    if (!isDown) broker.faults.refusedConnects--
    return { refused: new ConnectionRefused({ address, detail: `connect ECONNREFUSED ${host}:${port}` }) }
  }
  if (!broker.accounts.authenticates(username, password)) {
    const replyText = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the " +
      "broker logfile."
    return { refused: new AuthenticationRefused({ address, replyText }) }
  }
  const vhost = broker.vhosts.get(name)
  if (vhost === undefined || !broker.accounts.mayUse(username, name)) {
    const replyText = vhost === undefined
      ? `NOT_ALLOWED - vhost ${name} not found`
      : `NOT_ALLOWED - access to vhost '${name}' refused for user '${username}'`
    return { refused: new VhostRefused({ address, vhost: name, replyCode: 530, replyText }) }
  }
  return { vhost }
}

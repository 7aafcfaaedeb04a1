/**
 * The wanted configuration of a node, and the files that tell it to the node.
 */
import * as Duration from "effect/Duration"
import { writeFile } from "node:fs/promises"
import { join } from "node:path"

/**
 * The wishes of one test. A node without wishes has RabbitMQ's own defaults.
 */
export interface NodeConfiguration {
  readonly limits?: Limits | undefined
  /** Certificates for a second listener that speaks TLS. */
  readonly tls?: Tls | undefined
  /** Further entries of `rabbitmq.conf`. */
  readonly settings?: Readonly<Record<string, string | number | boolean>> | undefined
  /** Plugins of RabbitMQ's own that are enabled, such as `rabbitmq_auth_mechanism_ssl`. */
  readonly plugins?: ReadonlyArray<string> | undefined
}

/**
 * Limits at which a broker turns against its clients.
 */
export interface Limits {
  /** The time that a delivery may stay unacknowledged. Checked every `channelTickInterval`. */
  readonly consumerTimeout?: Duration.Input | undefined
  readonly channelTickInterval?: Duration.Input | undefined
  /** In bytes. */
  readonly maxMessageSize?: number | undefined
}

/**
 * The node's own certificate and the authority of its clients, all in PEM.
 */
export interface Tls {
  /** The authority whose client certificates the node accepts. */
  readonly authority: string
  readonly certificate: string
  readonly privateKey: string
  /** Refuses a client certificate that is not valid. */
  readonly verifyPeer?: boolean | undefined
  /** Refuses a client without a certificate. */
  readonly failIfNoPeerCert?: boolean | undefined
}

/**
 * A node's configuration files.
 */
export interface Files {
  /** `rabbitmq.conf` */
  readonly basic: string
  /** `advanced.config` */
  readonly advanced: string
  /** `enabled_plugins` */
  readonly plugins: string
}

/**
 * Writes the configuration files, and the certificates that they name, into a directory of the node.
 */
export const write = async (
  directory: string,
  configuration: NodeConfiguration,
  tlsListener: string | undefined
): Promise<Files> => {
  const files: Files = {
    basic: join(directory, "rabbitmq.conf"),
    advanced: join(directory, "advanced.config"),
    plugins: join(directory, "enabled_plugins")
  }
  const lines = Object.entries(configuration.settings ?? {}).map(([key, value]) => `${key} = ${value}`)
  const { tls } = configuration
  if (tls !== undefined && tlsListener !== undefined) {
    const pems = {
      cacertfile: join(directory, "authority.pem"),
      certfile: join(directory, "certificate.pem"),
      keyfile: join(directory, "private-key.pem")
    }
    await writeFile(pems.cacertfile, tls.authority)
    await writeFile(pems.certfile, tls.certificate)
    await writeFile(pems.keyfile, tls.privateKey)
    lines.push(
      `listeners.ssl.1 = ${tlsListener}`,
      ...Object.entries(pems).map(([key, path]) => `ssl_options.${key} = ${path}`),
      `ssl_options.verify = ${tls.verifyPeer === true ? "verify_peer" : "verify_none"}`,
      `ssl_options.fail_if_no_peer_cert = ${tls.failIfNoPeerCert === true}`
    )
  }
  await writeFile(files.basic, `${lines.join("\n")}\n`)
  const terms = limitSettings(configuration.limits ?? {}).map(([key, value]) => `{${key}, ${value}}`)
  await writeFile(files.advanced, `[{rabbit, [${terms.join(", ")}]}].\n`)
  await writeFile(files.plugins, `[${(configuration.plugins ?? []).join(", ")}].\n`)
  return files
}

/**
 * The limits under the names that they have in the environment of the application `rabbit`. Not all of them have a name
 * in `rabbitmq.conf`.
 */
export const limitSettings = (limits: Limits): ReadonlyArray<readonly [key: string, value: number]> => [
  ...setting("consumer_timeout", limits.consumerTimeout, Duration.toMillis),
  ...setting("channel_tick_interval", limits.channelTickInterval, Duration.toMillis),
  ...setting("max_message_size", limits.maxMessageSize, (bytes) => bytes)
]

const setting = <A>(
  key: string,
  value: A | undefined,
  render: (value: A) => number
): ReadonlyArray<readonly [key: string, value: number]> => value === undefined ? [] : [[key, render(value)]]

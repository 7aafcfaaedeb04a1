/**
 * Endpoints as applications write them, made into what is dialled. Pure; a URL is never part of an error, because it
 * may hold a password.
 */
import * as Redacted from "effect/Redacted"
import { isIPv6 } from "node:net"
import type { DriverTls } from "../../AmqpDriver.ts"
import type { Address, AmqpError } from "../../AmqpError.ts"
import { invalid } from "../checkOptions.ts"

/**
 * Names a broker: a URL, which may hold credentials and so may be `Redacted`, or a host with a port.
 *
 * @category options
 * @since 0.1.0
 */
export type EndpointInput =
  | string
  | Redacted.Redacted<string>
  | {
    readonly host: string
    /** Defaults to 5672, or to 5671 with TLS. */
    readonly port?: number | undefined
    /** Uses TLS. Defaults to `true` if the `tls` option is given. */
    readonly tls?: boolean | undefined
  }

/** Where to dial, and as whom. */
export interface Endpoint extends Address {
  readonly tls: DriverTls | undefined
  readonly vhost: string
  readonly username: string
  readonly password: Redacted.Redacted<string>
  /** When the credentials expire, in milliseconds since 1970, if it is known. */
  readonly expires?: number | undefined
}

/** What holds for every endpoint that does not say otherwise. */
export interface EndpointDefaults {
  readonly tls: DriverTls | undefined
  readonly vhost: string | undefined
  readonly username: string | undefined
  readonly password: Redacted.Redacted<string> | undefined
}

/** Made of an endpoint: where to dial, and the heartbeat in seconds if its URL names one. */
export interface ParsedEndpoint {
  readonly endpoint: Endpoint
  readonly heartbeat: number | undefined
}

/** Reads one endpoint, or says what is wrong with it. */
export const parse = (input: EndpointInput, defaults: EndpointDefaults): ParsedEndpoint | AmqpError => {
  if (typeof input === "string") return parseUrl(input, defaults)
  if (Redacted.isRedacted(input)) return parseUrl(Redacted.value(input), defaults)
  if (typeof input.host !== "string") return invalid("endpoints", "an endpoint has no host name")
  if (!hostAndPort.test(input.host) && !isIPv6(input.host)) {
    return invalid(
      "endpoints",
      "a host is no URL: give the host name alone, and port, username and password as options"
    )
  }
  const tls = input.tls === true ? defaults.tls ?? {} : input.tls === false ? undefined : defaults.tls
  return finish({
    host: withoutBrackets(input.host),
    port: input.port ?? (tls === undefined ? 5672 : 5671),
    tls,
    vhost: defaults.vhost || "/",
    username: defaults.username ?? "guest",
    password: defaults.password ?? Redacted.make("guest")
  }, undefined)
}

const expected = "expected amqp://user:password@host:port/vhost, or amqps:// for TLS"
const encoding =
  "write / ? # @ : , and % in a user name, a password or a virtual host as %2F %3F %23 %40 %3A %2C and %25"

// Read by hand: a lenient reader takes a part of a password for a host, a path or a parameter, and dials there.
const url = /^(amqps?):\/\/([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/is
const hostAndPort = /^(\[[^\]]*\]|[^:[\]\s]*)(?::(\d*))?$/
const parameter = /^heartbeat=(\d+)$/

// Other clients' parameters, which are options here. No other name is repeated: it may be a part of a password.
const knownParameters: ReadonlySet<string> = new Set([
  "auth_mechanism",
  "cacertfile",
  "certfile",
  "channelMax",
  "channel_max",
  "connection_timeout",
  "frameMax",
  "frame_max",
  "keyfile",
  "locale",
  "server_name_indication",
  "verify",
  "vhost"
])

const refuse = (detail: string): AmqpError => invalid("endpoints", detail)

/** Reads the seconds of a heartbeat; nothing else may stand behind the `?`. */
const heartbeatOf = (query: string): number | AmqpError => {
  let heartbeat = NaN
  for (const part of query.split("&")) {
    const seconds = parameter.exec(part)?.[1]
    if (seconds === undefined) {
      const [name] = part.split("=")
      return knownParameters.has(name!)
        ? refuse(`a URL has the parameter "${name}"; only heartbeat is known, the rest are options`)
        : refuse(`a URL has something behind a ? that is no heartbeat=seconds; ${encoding}`)
    }
    heartbeat = Number(seconds)
  }
  return heartbeat
}

const parseUrl = (given: string, defaults: EndpointDefaults): ParsedEndpoint | AmqpError => {
  // Secrets are often files, which end in a newline.
  const text = given.trim()
  const scheme = /^([a-z]+):\/\//i.exec(text)?.[1]?.toLowerCase()
  if (scheme !== undefined && scheme !== "amqp" && scheme !== "amqps") {
    return refuse(`a URL has the scheme "${scheme}:"; ${expected}`)
  }
  if (text.includes("#")) return refuse(`a URL has a #; ${encoding}`)
  const [, , authority, path, query] = url.exec(text) ?? []
  if (authority === undefined) return refuse(`a URL cannot be read; ${expected}`)
  if (/\s/.test(text)) return refuse("a URL has white space in it; write a space as %20")
  // What comes after the host holds no @, so that one there belongs to a password that the URL was cut in.
  if (query?.includes("@") === true) return refuse(`a URL has an @ behind a ?; ${encoding}`)
  if (path?.includes("@") === true) return refuse(`a URL has an @ behind the host; ${encoding}`)
  if (path?.includes("/") === true) return refuse(`a URL has a second / behind the host; ${encoding}`)
  const at = authority.indexOf("@")
  if (at !== authority.lastIndexOf("@")) return refuse(`a URL has two @; ${encoding}`)
  const userinfo = authority.slice(0, Math.max(at, 0))
  const [, hostname, port] = hostAndPort.exec(authority.slice(at + 1)) ?? []
  if (hostname === undefined) return refuse(`a URL has a host that cannot be read; ${expected}`)
  const heartbeat = query === undefined || query === "" ? undefined : heartbeatOf(query)
  if (typeof heartbeat === "object") return heartbeat
  const colon = userinfo.indexOf(":")
  const user = colon < 0 ? userinfo : userinfo.slice(0, colon)
  const secret = colon < 0 ? "" : userinfo.slice(colon + 1)
  let host: string
  let username: string
  let password: string
  let vhost: string
  try {
    host = decodeURIComponent(hostname)
    username = decodeURIComponent(user)
    password = decodeURIComponent(secret)
    vhost = decodeURIComponent(path ?? "")
  } catch {
    return refuse("a URL has a % that is not followed by two hexadecimal digits; write % as %25")
  }
  return finish({
    host: withoutBrackets(host),
    port: port === undefined || port === "" ? (scheme === "amqp" ? 5672 : 5671) : Number(port),
    tls: scheme === "amqp" ? undefined : defaults.tls ?? {},
    vhost: vhost || defaults.vhost || "/",
    username: username === "" ? defaults.username ?? "guest" : username,
    password: password === "" ? defaults.password ?? Redacted.make("guest") : Redacted.make(password)
  }, heartbeat)
}

/**
 * Cuts a list of URLs at its commas: at those that a scheme follows, because a password may have a comma.
 */
export const splitUrls = (list: string): ReadonlyArray<string> =>
  list.split(/,(?=\s*amqps?:\/\/)/i).map((one) => one.trim().replace(/,$/, ""))

// An IPv6 address is written in brackets before a port, and dialled without.
const withoutBrackets = (host: string): string => host.replace(/^\[(.*)\]$/, "$1")

const loneSurrogate = /\p{Surrogate}/u

// Secrets are often files, which end in a newline; no credential does.
const withoutNewline = (text: string): string => text.replace(/[\r\n]+$/, "")

// A text is not repeated: somebody may have put a URL there, with its password.
const portProblem = (port: unknown): string | undefined => {
  if (typeof port !== "number") {
    return "the port is no whole number from 1 to 65535" + (/^\s*tcp:\/\//i.test(String(port))
      ? ", but the tcp:// URL that Kubernetes puts into AMQP_PORT for a Service named amqp: set AMQP_URL, or " +
        "enableServiceLinks: false in the Pod, or give the Service another name"
      : "")
  }
  return Number.isInteger(port) && port >= 1 && port <= 65535
    ? undefined
    : `the port ${port} is not a whole number from 1 to 65535`
}

const finish = (given: Endpoint, heartbeat: number | undefined): ParsedEndpoint | AmqpError => {
  const endpoint = !Redacted.isRedacted(given.password) ? given : {
    ...given,
    vhost: withoutNewline(given.vhost),
    username: withoutNewline(given.username),
    password: Redacted.make(withoutNewline(Redacted.value(given.password)))
  }
  if (endpoint.host === "") return invalid("endpoints", "an endpoint has no host name")
  const problem = portProblem(endpoint.port)
  if (problem !== undefined) return invalid("endpoints", problem)
  if (Buffer.byteLength(endpoint.vhost) > 255) {
    return invalid("vhost", "a virtual host has a name of more than 255 bytes")
  }
  if (!Redacted.isRedacted(endpoint.password)) {
    return invalid("password", "it must not be printed: pass Redacted.make(password)")
  }
  const texts = { vhost: endpoint.vhost, username: endpoint.username, password: Redacted.value(endpoint.password) }
  for (const [option, text] of Object.entries(texts)) {
    if (loneSurrogate.test(text)) return invalid(option, "it holds half of a surrogate pair, which UTF-8 cannot carry")
  }
  return { endpoint, heartbeat }
}

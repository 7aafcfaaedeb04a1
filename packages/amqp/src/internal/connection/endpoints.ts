/**
 * Endpoints as applications write them, made into what is dialled. Pure; a URL is never part of an error, because it
 * may hold a password.
 */
import * as Redacted from "effect/Redacted"
import type { DriverTls } from "../../AmqpDriver.ts"
import type { Address, AmqpError } from "../../AmqpError.ts"
import { invalid } from "../checkOptions.ts"

/** A broker: a URL, which may hold credentials and so may be `Redacted`, or a host with a port. */
export type EndpointInput =
  | string
  | Redacted.Redacted<string>
  | {
    readonly host: string
    /** 5672, or 5671 with TLS, by default. */
    readonly port?: number | undefined
    /** Whether to use TLS; by default if the `tls` option is given. */
    readonly tls?: boolean | undefined
  }

/** Where to dial, and as whom. */
export interface Endpoint extends Address {
  readonly tls: DriverTls | undefined
  readonly vhost: string
  readonly username: string
  readonly password: Redacted.Redacted<string>
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

/** Read one endpoint, or say what is wrong with it. */
export const parse = (input: EndpointInput, defaults: EndpointDefaults): ParsedEndpoint | AmqpError => {
  if (typeof input === "string") return parseUrl(input, defaults)
  if (Redacted.isRedacted(input)) return parseUrl(Redacted.value(input), defaults)
  if (typeof input.host !== "string") return invalid("endpoints", "an endpoint has no host name")
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

const parseUrl = (text: string, defaults: EndpointDefaults): ParsedEndpoint | AmqpError => {
  const expected = "expected amqp://user:password@host:port/vhost, or amqps:// for TLS"
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return invalid("endpoints", `a URL cannot be parsed; ${expected}`)
  }
  if (url.protocol !== "amqp:" && url.protocol !== "amqps:") {
    return invalid("endpoints", `a URL has the scheme "${url.protocol}"; ${expected}`)
  }
  let host: string
  let username: string
  let password: string
  let vhost: string
  try {
    host = decodeURIComponent(url.hostname)
    username = decodeURIComponent(url.username)
    password = decodeURIComponent(url.password)
    vhost = decodeURIComponent(url.pathname.slice(1))
  } catch {
    return invalid("endpoints", "a URL has a % that is not followed by two hexadecimal digits; write % as %25")
  }
  // A "/" in a password ends the host part, and the rest of the password is then in the path: it is not quoted.
  if (url.pathname.includes("@")) {
    return invalid("endpoints", "a URL has an @ after the host; write / and @ in a password as %2F and %40")
  }
  if (url.pathname.slice(1).includes("/")) {
    return invalid("endpoints", "a URL has a second / after the host; write / in a virtual host as %2F")
  }
  let heartbeat: number | undefined
  for (const [key, value] of url.searchParams) {
    if (key !== "heartbeat") {
      return invalid("endpoints", `a URL has the parameter "${key}"; only heartbeat is known, the rest are options`)
    }
    heartbeat = Number(value)
  }
  return finish({
    host: withoutBrackets(host),
    port: url.port === "" ? (url.protocol === "amqp:" ? 5672 : 5671) : Number(url.port),
    tls: url.protocol === "amqp:" ? undefined : defaults.tls ?? {},
    vhost: vhost || defaults.vhost || "/",
    username: username === "" ? defaults.username ?? "guest" : username,
    password: url.password === "" ? defaults.password ?? Redacted.make("guest") : Redacted.make(password)
  }, heartbeat)
}

// An IPv6 address is written in brackets before a port, and dialled without.
const withoutBrackets = (host: string): string => host.replace(/^\[(.*)\]$/, "$1")

const loneSurrogate = /\p{Surrogate}/u

const finish = (endpoint: Endpoint, heartbeat: number | undefined): ParsedEndpoint | AmqpError => {
  if (endpoint.host === "") return invalid("endpoints", "an endpoint has no host name")
  if (!Number.isInteger(endpoint.port) || endpoint.port < 1 || endpoint.port > 65535) {
    return invalid("endpoints", `the port ${endpoint.port} is not a whole number from 1 to 65535`)
  }
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

/**
 * Every way in which talking to RabbitMQ can fail, as one error with a closed set of reasons.
 *
 * {@link AmqpError} is what connecting, declaring, reading and acknowledging fail with; `AmqpPublisher.PublishError`
 * is what publishing fails with. Handle one reason with `Effect.catchReason("AmqpError", "NotFound", …)`, several with
 * `Effect.catchReasons`.
 *
 * No error carries a password, and none carries the driver's own error object: what is worth knowing of it was copied
 * into the reason.
 */
import * as Data from "effect/Data"
import * as Predicate from "effect/Predicate"

const TypeId = "~effect-amqp/AmqpError"

/** Where a broker listens; never its credentials. */
export interface Address {
  readonly host: string
  readonly port: number
}

const render = (address: Address): string =>
  address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`

/** The broker refused the user name or the password (403 in the handshake). Not retried at start-up. */
export class AuthenticationRefused extends Data.TaggedClass("AuthenticationRefused")<{
  readonly address: Address
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `${render(this.address)} refused the credentials (${this.replyText}). ` +
      `Check the user name and the password; the "guest" user may only connect from the broker's own host`
  }
}

/** The virtual host does not exist, or the user may not use it (530). Not retried at start-up. */
export class VhostRefused extends Data.TaggedClass("VhostRefused")<{
  readonly address: Address
  readonly vhost: string
  readonly replyCode: number | undefined
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `${render(this.address)} refused the virtual host "${this.vhost}" (${this.replyText}). ` +
      `Create it, or give the user permissions on it; the default virtual host is "/"`
  }
}

/** Nothing listens at the address, or it closed the socket before the handshake was over. */
export class ConnectionRefused extends Data.TaggedClass("ConnectionRefused")<{
  readonly address: Address
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `${render(this.address)} refused the connection (${this.detail}). Is RabbitMQ running and listening there?`
  }
}

/** The host name has no address. */
export class HostNotFound extends Data.TaggedClass("HostNotFound")<{
  readonly address: Address
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `the host name "${this.address.host}" could not be resolved (${this.detail})`
  }
}

/** The handshake was not over within the connect deadline. */
export class ConnectTimeout extends Data.TaggedClass("ConnectTimeout")<{
  readonly address: Address
  readonly millis: number
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `${render(this.address)} did not finish the handshake within ${this.millis} ms. ` +
      `Does RabbitMQ listen there, and with TLS exactly if the URL says amqps?`
  }
}

/** What went wrong in TLS, see {@link TlsFailed}. */
export type TlsProblem =
  | "UntrustedCertificate"
  | "HostMismatch"
  | "CertificateExpired"
  | "ClientCertificateRequired"
  | "ClientCertificateRefused"
  | "NotTls"
  | "Other"

const tlsAdvice: Record<TlsProblem, string> = {
  UntrustedCertificate: "pass the authority that signed it as tls.ca",
  HostMismatch: "connect to a name that the certificate carries, or set tls.servername to one",
  CertificateExpired: "the broker needs a new certificate",
  ClientCertificateRequired: "the broker asks for a client certificate: set tls.cert and tls.key",
  ClientCertificateRefused: "the broker does not trust the authority that signed tls.cert",
  NotTls: "that port does not speak TLS: use amqp:// or the broker's TLS port, 5671 by default",
  Other: "check the tls options against the broker's ssl_options"
}

/** The TLS handshake failed; `problem` says which part of it. */
export class TlsFailed extends Data.TaggedClass("TlsFailed")<{
  readonly address: Address
  readonly problem: TlsProblem
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `TLS with ${render(this.address)} failed: ${this.problem} (${this.detail}); ${tlsAdvice[this.problem]}`
  }
}

/** The peer does not speak AMQP 0-9-1, or sent bytes that are not a legal frame. */
export class ProtocolFailed extends Data.TaggedClass("ProtocolFailed")<{
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `the peer broke the AMQP 0-9-1 protocol (${this.detail}). Is that address really a RabbitMQ AMQP listener?`
  }
}

// The broker closed the connection because of what was sent on it; sending the same again ends the same way.
const hardConnectionErrors: ReadonlySet<number> = new Set([501, 502, 503, 505, 530, 540])

/** The connection ended: by the network, by the broker (`replyCode`, `replyText`), or because it stopped answering. */
export class ConnectionLost extends Data.TaggedClass("ConnectionLost")<{
  readonly replyCode: number | undefined
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return this.replyCode === undefined || !hardConnectionErrors.has(this.replyCode)
  }
  get message(): string {
    return `the connection was lost (${
      this.replyCode === undefined ? "" : `${this.replyCode} `
    }${this.replyText}); it is being re-established`
  }
}

/** The broker closed the channel for a cause that has no reason of its own. */
export class ChannelClosed extends Data.TaggedClass("ChannelClosed")<{
  readonly replyCode: number | undefined
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `the channel was closed (${this.replyCode === undefined ? "" : `${this.replyCode} `}${this.replyText})`
  }
}

/** An exchange or a queue exists with other properties than those declared (406). Heals only when one side changes. */
export class TopologyMismatch extends Data.TaggedClass("TopologyMismatch")<{
  readonly entity: "exchange" | "queue"
  readonly name: string
  /** The property or the argument that differs, such as `durable` or `x-message-ttl`. */
  readonly argument: string
  readonly wanted: string
  readonly actual: string
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `the ${this.entity} "${this.name}" exists with another ${this.argument}: wanted ${this.wanted}, ` +
      `the broker has ${this.actual}. Declare it as it is, or delete it on the broker first`
  }
}

/** The user has no permission, or the name is reserved (403). */
export class AccessRefused extends Data.TaggedClass("AccessRefused")<{
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `access refused (${this.replyText})`
  }
}

/** The exchange or queue does not exist (404), or its home node is down, which may heal. */
export class NotFound extends Data.TaggedClass("NotFound")<{
  readonly entity: "exchange" | "queue" | "other"
  readonly name: string
  readonly replyText: string
  /** True when the queue exists and the node that holds it is down. */
  readonly nodeDown: boolean
}> {
  get isRetryable(): boolean {
    return this.nodeDown
  }
  get message(): string {
    return this.nodeDown
      ? `the node that holds the ${this.entity} "${this.name}" is down (${this.replyText})`
      : `${this.entity === "other" ? "it" : `the ${this.entity} "${this.name}"`} does not exist (${this.replyText}). ` +
        `Declare it first`
  }
}

/**
 * The queue is exclusive to another connection (405), or another consumer has it for itself (403). If that was our own
 * before a half-open drop, it heals when the broker notices that the old connection is dead, two heartbeats later.
 */
export class ResourceLocked extends Data.TaggedClass("ResourceLocked")<{
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `the resource is locked (${this.replyText}): another connection has it for itself`
  }
}

/** The broker cancelled the consumer: its queue was deleted, or the node that holds it went down. */
export class ConsumerCancelled extends Data.TaggedClass("ConsumerCancelled")<{
  readonly queue: string
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `the broker cancelled the consumer of "${this.queue}": the queue was deleted, or its node is down`
  }
}

/** The broker refused what was asked (406, 530, 503 and the like) for a cause that has no reason of its own. */
export class OperationRefused extends Data.TaggedClass("OperationRefused")<{
  readonly replyCode: number
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `the broker refused it (${this.replyCode} ${this.replyText})`
  }
}

/** The broker did not answer within the operation deadline; a connection that fell silent is given up and re-established. */
export class OperationTimeout extends Data.TaggedClass("OperationTimeout")<{
  readonly millis: number
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `the broker did not answer within ${this.millis} ms; a connection that fell silent is given up and re-established`
  }
}

/** All channel numbers of the connection are in use (`channel_max`). */
export class ChannelLimit extends Data.TaggedClass("ChannelLimit")<{
  readonly channelMax: number
}> {
  get isRetryable(): boolean {
    return true
  }
  get message(): string {
    return `all ${this.channelMax} channels of the connection are in use: close some, or raise the broker's channel_max`
  }
}

/** An option or an environment variable has a value that cannot work. */
export class InvalidConfiguration extends Data.TaggedClass("InvalidConfiguration")<{
  readonly option: string
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `the option "${this.option}" is invalid: ${this.detail}`
  }
}

/** A message, name or argument cannot be put on the wire; refused before anything was sent. */
export class InvalidMessage extends Data.TaggedClass("InvalidMessage")<{
  readonly field: string
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `"${this.field}" is invalid: ${this.detail}`
  }
}

/** The retry budget of an outage is spent; the connection is finished. `last` is what the last attempt failed with. */
export class ReconnectAbandoned extends Data.TaggedClass("ReconnectAbandoned")<{
  readonly attempts: number
  readonly last: AmqpErrorReason
}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return `gave up reconnecting after ${this.attempts} attempts; the last one failed: ${this.last.message}`
  }
}

/** The application closed the connection; nothing more can be done with it. */
export class ConnectionClosed extends Data.TaggedClass("ConnectionClosed")<{}> {
  get isRetryable(): boolean {
    return false
  }
  get message(): string {
    return "the connection was closed by the application"
  }
}

/** The closed set of reasons for which an operation can fail. */
export type AmqpErrorReason =
  | AuthenticationRefused
  | VhostRefused
  | ConnectionRefused
  | HostNotFound
  | ConnectTimeout
  | TlsFailed
  | ProtocolFailed
  | ConnectionLost
  | ChannelClosed
  | TopologyMismatch
  | AccessRefused
  | NotFound
  | ResourceLocked
  | ConsumerCancelled
  | OperationRefused
  | OperationTimeout
  | ChannelLimit
  | InvalidConfiguration
  | InvalidMessage
  | ReconnectAbandoned
  | ConnectionClosed

/**
 * A failure of any operation but publishing: which operation, for which reason, and whether trying again may help.
 *
 * @example
 * ```ts
 * channel.checkQueue("invoices").pipe(
 *   Effect.catchReason("AmqpError", "NotFound", () => Effect.succeed(undefined))
 * )
 * ```
 */
export class AmqpError extends Data.TaggedError("AmqpError")<{
  /** What was being done, such as `connect` or `declareQueue invoices`. */
  readonly operation: string
  readonly reason: AmqpErrorReason
}> {
  readonly [TypeId] = TypeId

  override get message(): string {
    return this.reason === undefined ? "" : `${this.operation}: ${this.reason.message}`
  }

  /** Whether the same operation may succeed later without anything being changed by hand. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}

/** Whether a value is an {@link AmqpError}. */
export const isAmqpError = (u: unknown): u is AmqpError => Predicate.hasProperty(u, TypeId)

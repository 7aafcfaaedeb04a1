/**
 * Lists the ways in which talking to RabbitMQ can fail: one error with a closed set of reasons.
 *
 * Connecting, declaring, reading and acknowledging fail with {@link AmqpError}; publishing fails with
 * `PublishError.PublishError`. Handle one reason with `Effect.catchReason("AmqpError", "NotFound", …)`, several with
 * `Effect.catchReasons`; turn the reasons into the errors of an effect with `Effect.unwrapReason("AmqpError")`. A
 * reason is an `Error` without a captured stack, because one cause may fail many operations.
 *
 * No error carries a password, and none carries the driver's own error object: what is worth knowing of that object was
 * copied into the reason.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import { Reason } from "./internal/reason.ts"

const TypeId = "~effect-amqp/AmqpError"

/**
 * Says where a broker listens; it never holds credentials.
 *
 * @category models
 * @since 0.1.0
 */
export interface Address {
  readonly host: string
  readonly port: number
}

const render = (address: Address): string =>
  address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`

/**
 * The broker refused the user name or the password (403 in the handshake). Start-up does not try again.
 *
 * @category reasons
 * @since 0.1.0
 */
export class AuthenticationRefused extends Reason("AuthenticationRefused")<{
  readonly address: Address
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    const refused = `${render(this.address)} refused the credentials (${this.replyText})`
    if (this.replyText.includes("authentication mechanism EXTERNAL")) {
      return `${refused}. EXTERNAL takes the user from the client's certificate: set tls.cert and tls.key, and add a user ` +
        `of the name that the broker's ssl_cert_login_from finds in the certificate`
    }
    // These two say what to do.
    return /SASL mechanism|before log-in/.test(this.replyText)
      ? refused
      : `${refused}. Check the user name and the password; ` +
        `the "guest" user may only connect from the broker's own host`
  }
}

/**
 * The virtual host does not exist, or the user has no permission for it (530). Start-up does not try again.
 *
 * @category reasons
 * @since 0.1.0
 */
export class VhostRefused extends Reason("VhostRefused")<{
  readonly address: Address
  readonly vhost: string
  readonly replyCode: number | undefined
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `${render(this.address)} refused the virtual host "${this.vhost}" (${this.replyText}). ` +
      `Create it, or give the user permissions on it; the default virtual host is "/"`
  }
}

/**
 * The user, the virtual host or the node has as many connections as the broker allows (530). Retried like a connection
 * that is refused, because others may leave.
 *
 * @category reasons
 * @since 0.2.0
 */
export class ConnectionLimit extends Reason("ConnectionLimit")<{
  readonly of: "user" | "vhost" | "node"
  readonly limit: number
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    const limited = { user: "user", vhost: "virtual host", node: "node" }[this.of]
    return `the ${limited} has all ${this.limit} connections that the broker allows (${this.replyText}). ` +
      `Close some, raise the limit, or publish and consume on one connection with sessions: "shared"`
  }
}

/**
 * The virtual host exists and is not running: it is starting with the broker, or it failed (541). Retried like a
 * connection that is refused.
 *
 * @category reasons
 * @since 0.2.0
 */
export class VhostDown extends Reason("VhostDown")<{
  readonly address: Address
  readonly vhost: string
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `the virtual host "${this.vhost}" of ${render(this.address)} is down (${this.replyText}). ` +
      `It may still be starting; if not, restart it with rabbitmqctl restart_vhost`
  }
}

/**
 * An effect that was to give endpoints, credentials or TLS material failed, died, or did not answer within
 * `connectTimeout`. Its own text is left out, because it may hold a secret.
 *
 * @category reasons
 * @since 0.2.0
 */
export class SourceFailed extends Reason("SourceFailed")<{
  readonly option: "endpoints" | "credentials" | "tls"
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `the effect of the option "${this.option}" gave nothing to connect with: ${this.detail}`
  }
}

/**
 * Nothing listens at the address, or the peer closed the socket before the handshake was over.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ConnectionRefused extends Reason("ConnectionRefused")<{
  readonly address: Address
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `${render(this.address)} refused the connection (${this.detail}). Is RabbitMQ running and listening there?`
  }
}

/**
 * The host name has no address.
 *
 * @category reasons
 * @since 0.1.0
 */
export class HostNotFound extends Reason("HostNotFound")<{
  readonly address: Address
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `the host name "${this.address.host}" could not be resolved (${this.detail})`
  }
}

/**
 * The handshake was not over within `connectTimeout`.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ConnectTimeout extends Reason("ConnectTimeout")<{
  readonly address: Address
  readonly millis: number
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `${render(this.address)} did not finish the handshake within ${this.millis} ms. ` +
      `Does RabbitMQ listen there, and with TLS exactly if the URL says amqps?`
  }
}

/**
 * Names the part of TLS that failed, see {@link TlsFailed}.
 *
 * @category models
 * @since 0.1.0
 */
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

/**
 * The TLS handshake failed; `problem` names the part of it that did.
 *
 * @category reasons
 * @since 0.1.0
 */
export class TlsFailed extends Reason("TlsFailed")<{
  readonly address: Address
  readonly problem: TlsProblem
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `TLS with ${render(this.address)} failed: ${this.problem} (${this.detail}); ${tlsAdvice[this.problem]}`
  }
}

/**
 * The peer does not speak AMQP 0-9-1, or sent bytes that are no legal frame.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ProtocolFailed extends Reason("ProtocolFailed")<{
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `the peer broke the AMQP 0-9-1 protocol (${this.detail}). Is that address really a RabbitMQ AMQP listener?`
  }
}

const codeAndText = (closed: { readonly replyCode: number | undefined; readonly replyText: string }): string =>
  closed.replyCode === undefined ? closed.replyText : `${closed.replyCode} ${closed.replyText}`

// The broker closed the connection because of what was sent on it; sending the same again ends the same way.
const hardConnectionErrors: ReadonlySet<number> = new Set([501, 502, 503, 505, 530, 540])

/**
 * The connection ended: the network failed, the broker closed it (`replyCode`, `replyText`), or the broker fell
 * silent.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ConnectionLost extends Reason("ConnectionLost")<{
  readonly replyCode: number | undefined
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return this.replyCode === undefined || !hardConnectionErrors.has(this.replyCode)
  }
  override get message(): string {
    return `the connection was lost (${codeAndText(this)}); it is being re-established`
  }
}

/**
 * The broker closed the channel for a cause that has no reason of its own here.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ChannelClosed extends Reason("ChannelClosed")<{
  readonly replyCode: number | undefined
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `the channel was closed (${codeAndText(this)})`
  }
}

/**
 * An exchange or a queue exists with other properties than those declared (406). It heals only when one side changes.
 *
 * @category reasons
 * @since 0.1.0
 */
export class TopologyMismatch extends Reason("TopologyMismatch")<{
  readonly entity: "exchange" | "queue"
  /** The name of the exchange or the queue. */
  readonly entityName: string
  /** The property or the argument that differs, such as `durable` or `x-message-ttl`. */
  readonly argument: string
  readonly wanted: string
  readonly actual: string
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `the ${this.entity} "${this.entityName}" exists with another ${this.argument}: wanted ${this.wanted}, ` +
      `the broker has ${this.actual}. Declare it as it is, or delete it on the broker first`
  }
}

/**
 * A topology that is passive is not what the broker has: every exchange and queue that differs is named.
 *
 * @category reasons
 * @since 0.2.0
 */
export class TopologyDiffers extends Reason("TopologyDiffers")<{
  /** A sentence for each exchange and queue. */
  readonly differences: ReadonlyArray<string>
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `the broker has another topology: ${this.differences.join("; ")}`
  }
}

/**
 * The user has no permission for what was asked, or the name is reserved (403).
 *
 * @category reasons
 * @since 0.1.0
 */
export class AccessRefused extends Reason("AccessRefused")<{
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `access refused (${this.replyText})`
  }
}

/**
 * The exchange or queue does not exist (404), or the node that holds the queue is down, which may heal.
 *
 * @category reasons
 * @since 0.1.0
 */
export class NotFound extends Reason("NotFound")<{
  readonly entity: "exchange" | "queue" | "other"
  /** The name of the exchange or the queue. */
  readonly entityName: string
  readonly replyText: string
  /** Is `true` when the queue exists and the node that holds the queue is down. */
  readonly nodeDown: boolean
}> {
  get isRetryable(): boolean {
    return this.nodeDown
  }
  override get message(): string {
    return this.nodeDown
      ? `the node that holds the ${this.entity} "${this.entityName}" is down (${this.replyText})`
      : `${
        this.entity === "other" ? "what was asked for" : `the ${this.entity} "${this.entityName}"`
      } does not exist (${this.replyText}). ` +
        `Declare it first`
  }
}

/**
 * The queue is exclusive to another connection (405), or another consumer has it for itself (403). A lock of a
 * connection that was lost heals when the broker notices the loss, two heartbeats later.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ResourceLocked extends Reason("ResourceLocked")<{
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `the resource is locked (${this.replyText}): another connection or consumer has it for itself`
  }
}

/**
 * The broker cancelled the consumer: its queue was deleted, or the node that holds the queue went down.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ConsumerCancelled extends Reason("ConsumerCancelled")<{
  readonly queue: string
  /**
   * True where the broker is RabbitMQ 4.3 or later, which cancels the consumer of a quorum queue when an
   * acknowledgement does not come in time, and the consumer had messages to acknowledge.
   *
   * @since 0.2.0
   */
  readonly ackTimeout?: boolean | undefined
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `the broker cancelled the consumer of "${this.queue}": ${
      this.ackTimeout === true
        ? "a message was not acknowledged within the acknowledgement timeout (consumer_timeout), or else "
        : ""
    }the queue was deleted, or its node is down`
  }
}

/**
 * The broker refused what was asked (406, 530, 503 and the like) for a cause that has no reason of its own here.
 *
 * @category reasons
 * @since 0.1.0
 */
export class OperationRefused extends Reason("OperationRefused")<{
  readonly replyCode: number
  readonly replyText: string
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `the broker refused the operation (${this.replyCode} ${this.replyText})`
  }
}

/**
 * The broker did not answer within `operationTimeout`. A connection that falls silent is closed and re-established.
 *
 * @category reasons
 * @since 0.1.0
 */
export class OperationTimeout extends Reason("OperationTimeout")<{
  readonly millis: number
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    return `the broker did not answer within ${this.millis} ms; a connection that falls silent is closed and re-established`
  }
}

/**
 * The connection has as many channels as it was agreed that it may have (`channel_max`), or the user or the node has as
 * many as the broker allows (530), which closes the connection that asks for one more.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ChannelLimit extends Reason("ChannelLimit")<{
  readonly of: "connection" | "user" | "node"
  readonly channelMax: number
}> {
  get isRetryable(): boolean {
    return true
  }
  override get message(): string {
    const [limited, limit] = {
      connection: ["connection", "channel_max, which counts from the next connection on"],
      user: ["user", "limit max-channels of the user"],
      node: ["node", "channel_max_per_node"]
    }[this.of]
    return `the ${limited} has all ${this.channelMax} channels that the broker allows, and waiting frees none of those ` +
      `that the program keeps: one for each channel and consumer, two for each publisher, one while a topology is ` +
      `declared. Make fewer of them, or raise the broker's ${limit}`
  }
}

/**
 * An option or an environment variable has a value that cannot work.
 *
 * @category reasons
 * @since 0.1.0
 */
export class InvalidConfiguration extends Reason("InvalidConfiguration")<{
  readonly option: string
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `the option "${this.option}" is invalid: ${this.detail}`
  }
}

/**
 * A message, name or argument cannot be put on the wire. It was refused before anything was sent.
 *
 * @category reasons
 * @since 0.1.0
 */
export class InvalidMessage extends Reason("InvalidMessage")<{
  readonly field: string
  readonly detail: string
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `"${this.field}" is invalid: ${this.detail}`
  }
}

/**
 * The retry budget of an outage is spent, and the connection is finished. `last` is what the last attempt failed with.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ReconnectAbandoned extends Reason("ReconnectAbandoned")<{
  readonly attempts: number
  readonly last: AmqpErrorReason
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `gave up reconnecting after ${this.attempts} attempts; the last one failed: ${this.last.message}`
  }
}

/**
 * Several sessions running ended while the same component was being set up on them, so that this component is taken for
 * the cause. It is given up, and the others go on. `last` is what the last of these sessions ended with.
 *
 * @category reasons
 * @since 0.2.0
 */
export class SetupAbandoned extends Reason("SetupAbandoned")<{
  readonly sessions: number
  readonly last: AmqpErrorReason
}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return `${
      this.sessions === 1 ? "a session" : `${this.sessions} sessions running`
    } ended while this was under way, so it is not tried again; the last one: ` +
      (this.last._tag === "ConnectionLost" ? codeAndText(this.last) : this.last.message)
  }
}

/**
 * The application closed the connection, which cannot be used any more.
 *
 * @category reasons
 * @since 0.1.0
 */
export class ConnectionClosed extends Reason("ConnectionClosed")<{}> {
  get isRetryable(): boolean {
    return false
  }
  override get message(): string {
    return "the connection was closed by the application"
  }
}

/**
 * The closed set of reasons for which an operation can fail.
 *
 * @category models
 * @since 0.1.0
 */
export type AmqpErrorReason =
  | AuthenticationRefused
  | VhostRefused
  | VhostDown
  | ConnectionLimit
  | SourceFailed
  | ConnectionRefused
  | HostNotFound
  | ConnectTimeout
  | TlsFailed
  | ProtocolFailed
  | ConnectionLost
  | ChannelClosed
  | TopologyMismatch
  | TopologyDiffers
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
  | SetupAbandoned
  | ConnectionClosed

/**
 * A failure of any operation but publishing: the operation, the reason, and if trying again may help.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { AmqpChannel } from "effect-amqp"
 *
 * const messageCount = AmqpChannel.AmqpChannel.use((channel) => channel.checkQueue("invoices")).pipe(
 *   Effect.map(({ messageCount }) => messageCount),
 *   Effect.catchReason("AmqpError", "NotFound", () => Effect.succeed(0))
 * )
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class AmqpError extends Reason("AmqpError")<{
  /** The operation, such as `connect` or `declareQueue invoices`. */
  readonly operation: string
  readonly reason: AmqpErrorReason
}> {
  /** Identifies the class at run time. */
  get [TypeId](): typeof TypeId {
    return TypeId
  }

  override get message(): string {
    return this.reason === undefined ? "" : `${this.operation}: ${this.reason.message}`
  }

  /** Is `true` if the same operation may succeed later without a change by hand. */
  get isRetryable(): boolean {
    return this.reason.isRetryable
  }
}

/**
 * Returns `true` for an {@link AmqpError}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isAmqpError = (u: unknown): u is AmqpError => Predicate.hasProperty(u, TypeId)

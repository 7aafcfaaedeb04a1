/**
 * amqplib's errors, which differ in names, codes and texts, as reasons. Pure, so that the whole table can be tested.
 */
import type { Address, AmqpErrorReason, TlsProblem } from "../../AmqpError.ts"
import * as AmqpError from "../../AmqpError.ts"
import { MessageRefused } from "../wire/frameWriter.ts"
import { fromReplyCode } from "../wire/replyCode.ts"
import { WireError } from "../wire/WireError.ts"
import type { HandshakeSeen } from "./handshakeWatch.ts"

const codeOf = (error: unknown): string | number | undefined => {
  const code = typeof error === "object" && error !== null && "code" in error ? error.code : undefined
  return typeof code === "string" || typeof code === "number" ? code : undefined
}

const textOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  // Happy eyeballs fails with an AggregateError that has an empty message.
  if (error instanceof AggregateError && error.message === "") return error.errors.map(textOf).join(", ")
  return error.message
}

const unquote = (message: string): string => /with message "(.*)"$/s.exec(message)?.[1] ?? message

const tlsProblems: Record<string, TlsProblem> = {
  SELF_SIGNED_CERT_IN_CHAIN: "UntrustedCertificate",
  DEPTH_ZERO_SELF_SIGNED_CERT: "UntrustedCertificate",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "UntrustedCertificate",
  UNABLE_TO_GET_ISSUER_CERT: "UntrustedCertificate",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "UntrustedCertificate",
  ERR_TLS_CERT_ALTNAME_INVALID: "HostMismatch",
  CERT_HAS_EXPIRED: "CertificateExpired",
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: "ClientCertificateRequired",
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: "ClientCertificateRequired",
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: "ClientCertificateRefused",
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: "ClientCertificateRefused",
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: "ClientCertificateRefused",
  ERR_SSL_WRONG_VERSION_NUMBER: "NotTls",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "NotTls"
}

const protocolError = /^Frame size |^Invalid frame|^Unknown frame|^Unknown class\/method|^Frame on|^Unexpected frame/

const isProtocolError = (error: unknown, text: string): boolean =>
  protocolError.test(text) || codeOf(error) === "ERR_BUFFER_OUT_OF_BOUNDS" || error instanceof TypeError ||
  error instanceof RangeError

// RabbitMQ reads frames of at most 4,096 bytes until it knows the user, and of 8,192 from 4.1 on.
const maxCredentialBytes = 3500

// Without a word, or with FRAME_ERROR; amqplib itself writes AMQPLAIN into a buffer of a fixed size.
const isHangUp = (error: unknown, seen: HandshakeSeen): boolean =>
  error instanceof RangeError || seen.close?.replyCode === 501 ||
  /Socket closed abruptly|ECONNRESET|EPIPE|: 501 /.test(`${String(codeOf(error))} ${textOf(error)}`)

/** Why a connection could not be opened. */
export const connectReason = (
  error: unknown,
  context: {
    readonly address: Address
    readonly vhost: string
    readonly tls: boolean
    /** Bytes of the user name and the password. */
    readonly credentialBytes?: number
    readonly seen: HandshakeSeen
  }
): AmqpErrorReason => {
  const { address, credentialBytes = 0, seen, tls, vhost } = context
  const text = textOf(error)
  const code = codeOf(error instanceof AggregateError && error.errors.length > 0 ? error.errors[0] : error)

  if (credentialBytes > maxCredentialBytes && !seen.opening && isHangUp(error, seen)) {
    return new AmqpError.AuthenticationRefused({
      address,
      replyText: `the user name and the password have ${credentialBytes} bytes, ` +
        "and the broker accepts at most about 4 to 8 kB before log-in; use a shorter token"
    })
  }
  if (seen.close !== undefined) {
    const { replyCode, replyText } = seen.close
    return seen.opening
      ? new AmqpError.VhostRefused({ address, vhost, replyCode, replyText })
      : replyCode === 403
      ? new AmqpError.AuthenticationRefused({ address, replyText })
      : new AmqpError.ConnectionLost({ replyCode, replyText })
  }
  const terminated = /^Handshake terminated by server: (\d+) /.exec(text)
  if (terminated !== null) {
    const replyText = unquote(text)
    return terminated[1] === "403"
      ? new AmqpError.AuthenticationRefused({ address, replyText })
      : new AmqpError.ConnectionLost({ replyCode: Number(terminated[1]), replyText })
  }
  const mechanism = /^SASL mechanism (\S+) is not provided/.exec(text)?.[1]
  if (mechanism !== undefined) {
    return new AmqpError.AuthenticationRefused({
      address,
      replyText: `it does not offer the SASL mechanism ${mechanism}: choose one that it offers with the option ` +
        `"mechanism", or add it to the broker's auth_mechanisms`
    })
  }
  if (text.startsWith("Expected ConnectionOpenOk; got <ConnectionClose")) {
    return new AmqpError.VhostRefused({ address, vhost, replyCode: undefined, replyText: "no reason was given" })
  }
  if (seen.firstBytes === "tls") {
    return new AmqpError.TlsFailed({ address, problem: "Other", detail: "that port speaks TLS: use amqps://" })
  }
  if (seen.firstBytes === "http") return new AmqpError.ProtocolFailed({ detail: "the peer answered in HTTP" })
  if (seen.firstBytes === "amqp") {
    return new AmqpError.ProtocolFailed({ detail: "the peer speaks another version of AMQP only" })
  }
  if (typeof code === "string") {
    if (code === "ENOTFOUND" || code === "EAI_AGAIN") return new AmqpError.HostNotFound({ address, detail: text })
    if (code === "ERR_INVALID_ARG_VALUE" || code.startsWith("ERR_OSSL_")) {
      return new AmqpError.InvalidConfiguration({ option: "tls", detail: text })
    }
    const problem = tlsProblems[code]
    if (problem !== undefined) return new AmqpError.TlsFailed({ address, problem, detail: text })
    if (code.startsWith("ERR_SSL_") || code.startsWith("ERR_TLS_") || code.startsWith("CERT_")) {
      return new AmqpError.TlsFailed({ address, problem: "Other", detail: text })
    }
    if (/^E[A-Z]+$/.test(code)) return new AmqpError.ConnectionRefused({ address, detail: text })
  }
  // Node gives it no code.
  if (text === "mac verify failure") {
    return new AmqpError.InvalidConfiguration({ option: "tls.passphrase", detail: "it does not open tls.pfx" })
  }
  if (isProtocolError(error, text) || text.startsWith("Expected ")) {
    return new AmqpError.ProtocolFailed({ detail: text })
  }
  return new AmqpError.ConnectionRefused({
    address,
    detail: tls && /disconnected before secure/.test(text) ? "the socket was closed during the TLS handshake" : text
  })
}

/** Why an established connection ended; `undefined` is amqplib's way to say that we closed it. */
export const closeReason = (error: unknown): AmqpErrorReason => {
  if (error instanceof WireError) return new AmqpError.ProtocolFailed({ detail: error.message })
  if (error === undefined) return new AmqpError.ConnectionClosed()
  const code = codeOf(error)
  const text = textOf(error)
  if (typeof code === "number") {
    return fromReplyCode({
      operation: "connection",
      scope: "connection",
      replyCode: code,
      replyText: unquote(text),
      classId: 0,
      methodId: 0
    }).reason
  }
  if (text === "Heartbeat timeout") {
    return new AmqpError.ConnectionLost({ replyCode: undefined, replyText: "no heartbeat came from the broker" })
  }
  if (text === "Unexpected close") {
    return new AmqpError.ConnectionLost({ replyCode: undefined, replyText: "the socket was closed without a goodbye" })
  }
  return isProtocolError(error, text)
    ? new AmqpError.ProtocolFailed({ detail: text })
    : new AmqpError.ConnectionLost({ replyCode: undefined, replyText: text })
}

/** The error of a channel that the broker closed, or of the operation that made it do so; none if it says neither. */
export const channelError = (operation: string, error: unknown): AmqpError.AmqpError | undefined => {
  const replyCode = codeOf(error)
  if (typeof replyCode !== "number") return undefined
  const from = error as { readonly classId?: number; readonly methodId?: number }
  return fromReplyCode({
    operation,
    scope: "channel",
    replyCode,
    replyText: unquote(textOf(error)),
    classId: from.classId ?? 0,
    methodId: from.methodId ?? 0
  })
}

/** What amqplib refused to encode; it checks before it writes. */
export const invalidReason = (error: unknown): AmqpErrorReason => {
  if (error instanceof MessageRefused) return new AmqpError.InvalidMessage({ field: error.field, detail: error.detail })
  const text = textOf(error)
  const field = /^Field '(\w+)'/.exec(text)?.[1] ?? (/field table/.test(text) ? "headers" : "message")
  return new AmqpError.InvalidMessage({ field, detail: text })
}

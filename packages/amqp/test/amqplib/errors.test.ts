import { assert, describe, it } from "@effect/vitest"
import type { AmqpError } from "effect-amqp"
import { channelError, closeReason, connectReason, invalidReason } from "../../src/internal/amqplib/errors.ts"

const address = { host: "h", port: 5672 }
const nothingSeen = { firstBytes: undefined, opening: false, close: undefined } as const

const coded = (message: string, fields: object): Error => Object.assign(new Error(message), fields)

describe("amqplib's errors become reasons", () => {
  const connecting: ReadonlyArray<readonly [unknown, AmqpError.AmqpErrorReason["_tag"], boolean]> = [
    [coded("connect ECONNREFUSED 127.0.0.1:1", { code: "ECONNREFUSED", errno: -111 }), "ConnectionRefused", true],
    [
      new AggregateError([coded("connect ECONNREFUSED ::1:1", { code: "ECONNREFUSED" })], ""),
      "ConnectionRefused",
      true
    ],
    [coded("getaddrinfo ENOTFOUND nope", { code: "ENOTFOUND" }), "HostNotFound", true],
    [coded("getaddrinfo EAI_AGAIN nope", { code: "EAI_AGAIN" }), "HostNotFound", true],
    [
      new Error(
        `Handshake terminated by server: 403 (ACCESS-REFUSED) with message "ACCESS_REFUSED - Login was refused"`
      ),
      "AuthenticationRefused",
      false
    ],
    [new Error("SASL mechanism EXTERNAL is not provided by the server"), "AuthenticationRefused", false],
    [new Error("Expected ConnectionOpenOk; got <ConnectionClose channel:0>"), "VhostRefused", false],
    [new Error("Socket closed abruptly during opening handshake"), "ConnectionRefused", true],
    [coded("read ECONNRESET", { code: "ECONNRESET" }), "ConnectionRefused", true],
    [new Error("Frame size 1345270062 exceeds maxFrameSize 67108864"), "ProtocolFailed", true],
    [new Error("Invalid frame"), "ProtocolFailed", true],
    [
      coded("Attempt to access memory outside buffer bounds", { code: "ERR_BUFFER_OUT_OF_BOUNDS" }),
      "ProtocolFailed",
      true
    ],
    [coded("self-signed certificate in certificate chain", { code: "SELF_SIGNED_CERT_IN_CHAIN" }), "TlsFailed", false],
    [coded("Hostname/IP does not match", { code: "ERR_TLS_CERT_ALTNAME_INVALID" }), "TlsFailed", false],
    [coded("wrong version number", { code: "ERR_SSL_WRONG_VERSION_NUMBER" }), "TlsFailed", false],
    [coded("no start line", { code: "ERR_OSSL_PEM_NO_START_LINE" }), "InvalidConfiguration", false],
    [new Error("mac verify failure"), "InvalidConfiguration", false]
  ]
  it.each(connecting)("while connecting: %s", (error, tag, isRetryable) => {
    const reason = connectReason(error, { address, vhost: "/", tls: false, seen: nothingSeen })
    assert.strictEqual(reason._tag, tag)
    assert.strictEqual(reason.isRetryable, isRetryable)
  })

  it("the broker's own words for a refused virtual host win over amqplib's lack of them", () => {
    const reason = connectReason(new Error("Expected ConnectionOpenOk; got <ConnectionClose channel:0>"), {
      address,
      vhost: "v",
      tls: false,
      seen: {
        firstBytes: undefined,
        opening: true,
        close: { replyCode: 530, replyText: "NOT_ALLOWED - vhost v not found" }
      }
    })
    assert.deepInclude(reason, { _tag: "VhostRefused", replyCode: 530, replyText: "NOT_ALLOWED - vhost v not found" })
  })

  const closing: ReadonlyArray<readonly [unknown, AmqpError.AmqpErrorReason["_tag"], object]> = [
    [undefined, "ConnectionClosed", {}],
    [
      coded(`Connection closed: 320 (CONNECTION-FORCED) with message "CONNECTION_FORCED - bye"`, { code: 320 }),
      "ConnectionLost",
      { replyCode: 320, replyText: "CONNECTION_FORCED - bye" }
    ],
    [new Error("Heartbeat timeout"), "ConnectionLost", { replyCode: undefined }],
    [new Error("Unexpected close"), "ConnectionLost", { replyCode: undefined }],
    [coded("write ECONNRESET", { code: "ECONNRESET" }), "ConnectionLost", { replyText: "write ECONNRESET" }],
    [coded("bad record type", { code: "ERR_SSL_BAD_RECORD_TYPE" }), "ConnectionLost", {}],
    [new Error("Frame on unknown channel: <BasicAck channel:77>"), "ProtocolFailed", {}],
    [new TypeError("reply is not a function"), "ProtocolFailed", {}],
    [new Error("Unknown frame type 9"), "ProtocolFailed", {}]
  ]
  it.each(closing)("of an established connection: %s", (error, tag, fields) => {
    assert.deepInclude<object | undefined>(closeReason(error), { _tag: tag, ...fields })
  })

  const channels: ReadonlyArray<readonly [number, string, number, number, AmqpError.AmqpErrorReason["_tag"], object]> =
    [
      [404, "NOT_FOUND - no queue 'q' in vhost '/'", 50, 10, "NotFound", {
        entity: "queue",
        entityName: "q",
        nodeDown: false
      }],
      [404, "NOT_FOUND - no exchange 'e' in vhost '/'", 60, 40, "NotFound", { entity: "exchange", entityName: "e" }],
      [
        404,
        "NOT_FOUND - home node 'c2@localhost' of durable queue 'q' in vhost '/' is down or inaccessible",
        60,
        20,
        "NotFound",
        { entity: "queue", entityName: "q", nodeDown: true }
      ],
      [
        406,
        "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'",
        50,
        10,
        "TopologyMismatch",
        { entity: "queue", entityName: "q", argument: "durable", wanted: "'false'", actual: "'true'" }
      ],
      [406, "PRECONDITION_FAILED - unknown delivery tag 7", 60, 80, "ChannelClosed", {}],
      [406, "PRECONDITION_FAILED - delivery acknowledgement on channel 2 timed out", 0, 0, "ChannelClosed", {}],
      [406, "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'q'", 50, 10, "OperationRefused", {}],
      [406, "PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q'", 60, 20, "OperationRefused", {}],
      [403, "ACCESS_REFUSED - queue name 'amq.x' contains reserved prefix", 50, 10, "AccessRefused", {}],
      [405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q'", 50, 10, "ResourceLocked", {}]
    ]
  it.each(channels)("of a channel: %i %s", (code, text, classId, methodId, tag, fields) => {
    const error = coded(`Channel closed by server: ${code} (NAME) with message "${text}"`, { code, classId, methodId })
    assert.deepInclude<object | undefined>(channelError("operation", error)?.reason, { _tag: tag, ...fields })
  })

  it("an error without a reply code says nothing of why a channel was closed", () => {
    assert.isUndefined(channelError("operation", new Error("Channel ended, no reply will be forthcoming")))
  })

  it("what cannot be encoded names its field", () => {
    const error = new TypeError("Field 'routingKey' is the wrong type; must be a string (up to 255 chars)")
    assert.deepInclude(invalidReason(error), { _tag: "InvalidMessage", field: "routingKey" })
  })
})

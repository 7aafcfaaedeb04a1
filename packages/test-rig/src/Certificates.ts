/**
 * Makes certificates on the spot: some that TLS should accept, and some that it should refuse.
 */
// The certificate library registers its parts through decorators, which need this to be loaded first.
import "reflect-metadata"
import * as x509 from "@peculiar/x509"
import * as Effect from "effect/Effect"
import { webcrypto } from "node:crypto"

/**
 * A certificate with its key, in PEM.
 */
export interface Identity {
  readonly certificate: string
  readonly privateKey: string
}

/**
 * The certificates of a matrix of TLS tests.
 */
export interface Certificates {
  /** The certificate of the authority that both sides trust. */
  readonly authority: string
  /** A server at `localhost` and `127.0.0.1`. */
  readonly server: Identity
  /** A client. */
  readonly client: Identity
  /** A valid server certificate for `elsewhere.example`, another host than the server's. */
  readonly serverElsewhere: Identity
  /** A server at `localhost` whose certificate expired yesterday. */
  readonly expiredServer: Identity
  /** The certificate of an authority that nobody trusts. */
  readonly foreignAuthority: string
  /** A client that the foreign authority vouches for. */
  readonly foreignClient: Identity
}

/**
 * Makes a new set in a few milliseconds.
 */
export const make: Effect.Effect<Certificates> = Effect.promise(async () => {
  const authority = await makeAuthority("Test rig")
  const foreignAuthority = await makeAuthority("Somebody else")
  const localhost: Subject = {
    name: "localhost",
    alternatives: [{ type: "dns", value: "localhost" }, { type: "ip", value: "127.0.0.1" }]
  }
  return {
    authority: pem(authority.certificate.rawData, "CERTIFICATE"),
    server: await issue(authority, localhost),
    client: await issue(authority, { name: "client" }),
    serverElsewhere: await issue(authority, {
      name: "elsewhere.example",
      alternatives: [{ type: "dns", value: "elsewhere.example" }]
    }),
    expiredServer: await issue(authority, { ...localhost, expired: true }),
    foreignAuthority: pem(foreignAuthority.certificate.rawData, "CERTIFICATE"),
    foreignClient: await issue(foreignAuthority, { name: "client" })
  }
})

interface Authority {
  readonly certificate: x509.X509Certificate
  readonly keys: CryptoKeyPair
}

interface Subject {
  readonly name: string
  readonly alternatives?: Array<x509.JsonGeneralName>
  readonly expired?: boolean
}

type CryptoKeyPair = webcrypto.CryptoKeyPair

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" }
const day = 24 * 60 * 60 * 1000

const makeKeys = (): Promise<CryptoKeyPair> => webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"])

const makeAuthority = async (name: string): Promise<Authority> => {
  const keys = await makeKeys()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    ...validity(false),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey)
    ]
  })
  return { certificate, keys }
}

const issue = async (authority: Authority, subject: Subject): Promise<Identity> => {
  const keys = await makeKeys()
  const certificate = await x509.X509CertificateGenerator.create({
    subject: `CN=${subject.name}`,
    issuer: authority.certificate.subject,
    ...validity(subject.expired === true),
    publicKey: keys.publicKey,
    signingKey: authority.keys.privateKey,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(authority.keys.publicKey),
      ...(subject.alternatives === undefined ? [] : [new x509.SubjectAlternativeNameExtension(subject.alternatives)])
    ]
  })
  const key = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)
  return { certificate: pem(certificate.rawData, "CERTIFICATE"), privateKey: pem(key, "PRIVATE KEY") }
}

// Ends in a line break, so that one file can hold several.
const pem = (content: ArrayBuffer, label: string): string => `${x509.PemConverter.encode(content, label)}\n`

// The clock of the machine that checks a certificate may be somewhat behind.
const validity = (expired: boolean): { readonly notBefore: Date; readonly notAfter: Date } => {
  const now = Date.now()
  return { notBefore: new Date(now - 2 * day), notAfter: new Date(now + (expired ? -day : 10 * day)) }
}

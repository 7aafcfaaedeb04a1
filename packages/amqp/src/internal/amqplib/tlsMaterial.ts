/**
 * Looks at certificates and keys before they are used. OpenSSL says of a path, or of PEM text whose newlines are written
 * as `\n`, no more than "no start line".
 */
import * as Redacted from "effect/Redacted"
import type { DriverTls } from "../../AmqpDriver.ts"

/** An option that cannot be used, and what to pass instead. Quotes nothing of a key. */
export interface TlsProblem {
  readonly option: string
  readonly detail: string
}

const problemOfText = (text: string): string | undefined => {
  const trimmed = text.trim()
  if (trimmed === "") return "it is empty; pass the PEM text"
  if (!trimmed.includes("-----BEGIN ")) {
    return trimmed.length < 1024 && !trimmed.includes("\n") && /[/\\.]/.test(trimmed)
      ? "it is the path of a file; pass the text of the file, for example with FileSystem.readFileString"
      : `it is no PEM text, which begins with "-----BEGIN"; pass DER as a pfx, or convert it with openssl`
  }
  return !trimmed.includes("\n") && trimmed.includes("\\n")
    ? `its newlines are written as \\n, as in an environment variable; replace them: text.replaceAll("\\\\n", "\\n")`
    : undefined
}

const problemOf = (pem: string | Uint8Array): string | undefined =>
  problemOfText(typeof pem === "string" ? pem : Buffer.from(pem).toString("latin1"))

/** Finds the first certificate or key that cannot be one. */
export const tlsProblem = (tls: DriverTls | undefined): TlsProblem | undefined => {
  if (tls === undefined) return undefined
  const { ca, cert, key } = tls
  const authorities = ca === undefined ? [] : typeof ca === "string" || ca instanceof Uint8Array ? [ca] : ca
  const parts: ReadonlyArray<readonly [string, string | Uint8Array | undefined]> = [
    ...authorities.map((one) => ["tls.ca", one] as const),
    ["tls.cert", cert],
    ["tls.key", key === undefined ? undefined : Redacted.value(key)]
  ]
  for (const [option, pem] of parts) {
    const detail = pem === undefined ? undefined : problemOf(pem)
    if (detail !== undefined) return { option, detail }
  }
  return undefined
}

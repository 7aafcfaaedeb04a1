/**
 * What is wrong with TLS material before it is used: `node:tls` says of most of it that a start line is missing.
 */
import * as Redacted from "effect/Redacted"
import type { DriverTls } from "../../AmqpDriver.ts"
import type { AmqpError } from "../../AmqpError.ts"
import { invalid } from "../checkOptions.ts"

const begin = "-----BEGIN "

const pemProblem = (text: string): string | undefined => {
  if (!text.includes(begin)) {
    return text.length < 4096 && /^[^\n]*[\\/.][^\n]*$/.test(text.trim())
      ? "it is the path of a file: read the file, and pass what is in it"
      : `it is no PEM text, which holds "${begin}…"`
  }
  return /\\n/.test(text) && !text.trim().includes("\n")
    ? "its newlines are escaped: replace each backslash with n by a newline"
    : undefined
}

/** The first thing that is wrong, if anything is. */
export const problemOf = (tls: DriverTls): AmqpError | undefined => {
  for (const option of ["key", "passphrase", "pfx"] as const) {
    const secret = tls[option]
    if (secret !== undefined && !Redacted.isRedacted(secret)) {
      return invalid(`tls.${option}`, `it must not be printed: pass Redacted.make(${option})`)
    }
  }
  const texts: Array<readonly [option: string, text: unknown]> = [
    ...[tls.ca].flat().map((one) => ["ca", one] as const),
    ["cert", tls.cert],
    ["key", tls.key === undefined ? undefined : Redacted.value(tls.key)]
  ]
  for (const [option, text] of texts) {
    const problem = typeof text === "string" ? pemProblem(text) : undefined
    if (problem !== undefined) return invalid(`tls.${option}`, problem)
  }
  return undefined
}

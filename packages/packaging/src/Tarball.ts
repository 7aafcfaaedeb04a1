/**
 * What is in a tarball.
 */
import { readFileSync } from "node:fs"
import { gunzipSync } from "node:zlib"

/** A tarball, read. */
export interface Tarball {
  /** Its size as it is downloaded. */
  readonly packedBytes: number
  /** The files by their path in the package. */
  readonly files: ReadonlyMap<string, Uint8Array>
}

const blockBytes = 512

// Name, size and prefix of a header of ustar, which is what pnpm writes.
const textAt = (block: Buffer, from: number, length: number): string => {
  const field = block.subarray(from, from + length)
  const end = field.indexOf(0)
  return field.subarray(0, end < 0 ? length : end).toString()
}

/** Reads a tarball into memory. */
export const read = (file: string): Tarball => {
  const packed = readFileSync(file)
  const bytes = gunzipSync(packed)
  const files = new Map<string, Uint8Array>()
  let longName: string | undefined
  for (let at = 0; at + blockBytes <= bytes.length;) {
    const header = bytes.subarray(at, at + blockBytes)
    if (header[0] === 0) break
    const size = Number.parseInt(textAt(header, 124, 12), 8)
    const content = bytes.subarray(at + blockBytes, at + blockBytes + size)
    const kind = textAt(header, 156, 1)
    if (kind === "L") {
      longName = textAt(content, 0, size)
    } else if (kind === "x") {
      longName = /\d+ path=(.*)\n/.exec(content.toString())?.[1]
    } else {
      const prefix = textAt(header, 345, 155)
      const name = longName ?? (prefix === "" ? textAt(header, 0, 100) : `${prefix}/${textAt(header, 0, 100)}`)
      files.set(name.replace(/^package\//, ""), content)
      longName = undefined
    }
    at += blockBytes + Math.ceil(size / blockBytes) * blockBytes
  }
  return { packedBytes: packed.length, files }
}

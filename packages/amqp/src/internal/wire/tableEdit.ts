/**
 * Adds entries to a header table as it was received, and removes some, without reading the others: they stay byte by
 * byte what another client wrote, whatever that is.
 */
import type { Headers } from "../../AmqpMessage.ts"
import { endOfKey, endOfValue } from "./fieldReader.ts"
import { tableSize } from "./fieldSize.ts"
import { writeEntries } from "./fieldWriter.ts"
import { readShortString } from "./strings.ts"

/**
 * Edits the entries of a table, without its length. What is added stands first, and replaces entries of the same name.
 * It must be writable, see `tableProblem`.
 *
 * An entry of an unknown type and all entries behind it are kept. Added entries are found nevertheless,
 * because it stands before that.
 */
export const editTable = (
  table: Uint8Array,
  edit: { readonly add: Headers; readonly remove: (key: string) => boolean }
): Buffer => {
  const entries = Buffer.isBuffer(table) ? table : Buffer.from(table.buffer, table.byteOffset, table.byteLength)
  const added = tableSize(edit.add) - 4
  const edited = Buffer.allocUnsafe(added + entries.length)
  let length = writeEntries(edited, edit.add, 0)
  let kept = 0
  const keep = (until: number) => {
    length += entries.copy(edited, length, kept, until)
  }
  for (let offset = 0; offset < entries.length;) {
    let end: number
    try {
      end = endOfValue(entries, endOfKey(entries, offset, entries.length), entries.length)
    } catch {
      break
    }
    const key = readShortString(entries, offset)
    if (Object.hasOwn(edit.add, key) || edit.remove(key)) {
      keep(offset)
      kept = end
    }
    offset = end
  }
  keep(entries.length)
  return edited.subarray(0, length)
}

/** Tables of figures as text. */
import type { Summary } from "../measure/Statistics.ts"
import { spread } from "../measure/Statistics.ts"
import type { Verdict } from "./Bar.ts"

/** Writes a table: its first columns aligned to the left, numbers to the right. */
export const render = (
  header: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string>>,
  leftColumns: number
): string => {
  const widths = header.map((name, column) => Math.max(name.length, ...rows.map((row) => (row[column] ?? "").length)))
  const line = (cells: ReadonlyArray<string>) =>
    cells.map((cell, column) => column < leftColumns ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))
      .join("  ").trimEnd()
  return [line(header), widths.map((width) => "-".repeat(width)).join("  "), ...rows.map(line)].join("\n")
}

/** Writes a number with about three significant digits. */
export const number = (value: number): string =>
  value >= 1000
    ? Math.round(value).toLocaleString("en-US")
    : value >= 100
    ? value.toFixed(0)
    : value >= 10
    ? value.toFixed(1)
    : value.toFixed(2)

/** Writes a ratio, or an empty cell where there is none. */
export const ratio = (value: number | undefined): string => value === undefined ? "" : `×${value.toFixed(2)}`

/** Writes a share as a percentage. */
export const percent = (value: number): string => `${(value * 100).toFixed(0)} %`

/** Writes a median with its spread. */
export const withSpread = (summary: Summary): string =>
  `${number(summary.median)} ±${percent(spread(summary)).padStart(4)}`

/** Says that the bar was kept, or which part of it was missed. */
export const verdictText = (verdicts: ReadonlyArray<Verdict>): string => {
  if (verdicts.length === 0) return ""
  const missed = verdicts.filter((verdict) => !verdict.kept)
  return missed.length === 0
    ? "kept"
    : `missed: ${missed.map(({ limit, promise }) => `${promise} ${number(limit)}`).join(", ")}`
}

/** Draws horizontal bars as SVG, in panels side by side. Forty rectangles need no chart library. */

/** One bar. `low` and `high` are drawn as a whisker. */
export interface Bar {
  readonly label: string
  readonly value: number
  readonly low: number
  readonly high: number
  readonly text: string
  /** One of ours, one of others, or the floor, which is cut where it is beyond all of them. */
  readonly kind: "own" | "other" | "floor"
}

/** Bars of one quantity. */
export interface Panel {
  readonly title: string
  readonly bars: ReadonlyArray<Bar>
}

const panelWidth = 560
const labelWidth = 230
const valueWidth = 90
const rowHeight = 24
const top = 66
const gap = 24

const style = `
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .heading { font-size: 16px; font-weight: 600 }
  .title { font-weight: 600 }
  .own { fill: #6f42c1 }
  .other { fill: #8c959f }
  .floor { fill: #2da44e }
  .whisker { stroke: #24292f; stroke-width: 1 }
  .note { font-size: 11px; fill: #57606a }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .own { fill: #a371f7 }
    .other { fill: #6e7681 }
    .floor { fill: #3fb950 }
    .whisker { stroke: #e6edf3 }
    .note { fill: #8b949e }
  }`

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\"", "&quot;")

const panelOf = (panel: Panel, left: number): string => {
  const most = Math.max(...panel.bars.filter(({ kind }) => kind !== "floor").map(({ high }) => high))
  const scale = (panelWidth - labelWidth - valueWidth) / most
  const rows = panel.bars.map((bar, row) => {
    const y = top + row * rowHeight
    const middle = y + rowHeight / 2
    const x = left + labelWidth
    const isCut = bar.high > most
    const at = (value: number) => (x + value * scale).toFixed(1)
    return [
      `<text x="${x - 8}" y="${middle + 4}" text-anchor="end">${escape(bar.label)}</text>`,
      `<rect class="${bar.kind}" x="${x}" y="${y + 4}" width="${
        (Math.min(bar.value, most) * scale).toFixed(1)
      }" height="${rowHeight - 8}" rx="2"/>`,
      ...(isCut ? [] : [`<path class="whisker" d="M${at(bar.low)} ${middle}H${at(bar.high)}"/>`]),
      `<text x="${(x + Math.min(bar.high, most) * scale + 6).toFixed(1)}" y="${middle + 4}">${
        escape(isCut ? `… ${bar.text}` : bar.text)
      }</text>`
    ].join("\n")
  })
  return [`<text class="title" x="${left}" y="${top - 14}">${escape(panel.title)}</text>`, ...rows].join("\n")
}

/** The chart as the text of an SVG file. */
export const render = (heading: string, panels: ReadonlyArray<Panel>, note: string): string => {
  const width = panels.length * panelWidth + (panels.length - 1) * gap
  const height = top + Math.max(...panels.map(({ bars }) => bars.length)) * rowHeight + 34
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
    `viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escape(heading)}</title>`,
    `<style>${style}</style>`,
    `<text class="heading" x="0" y="20">${escape(heading)}</text>`,
    ...panels.map((panel, index) => panelOf(panel, index * (panelWidth + gap))),
    `<text class="note" x="0" y="${height - 8}">${escape(note)}</text>`,
    "</svg>",
    ""
  ].join("\n")
}

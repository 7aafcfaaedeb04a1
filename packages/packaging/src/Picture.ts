/**
 * A recording of a terminal as an animated SVG: the lines scroll by when they were written, and the last picture stays
 * for a while before all begins anew.
 */

/** A line, and when it was written. */
export interface Line {
  readonly text: string
  readonly atMillis: number
}

const columns = 92
const rows = 20
const rowHeight = 18
const margin = 16
const width = 2 * margin + columns * 7.2
const height = 2 * margin + rows * rowHeight
const pauseMillis = 6000

/** Draws what a command wrote. */
export const draw = (command: string, lines: ReadonlyArray<Line>): string => {
  const prompt = { text: `$ ${command}`, atMillis: 0, tone: "p" }
  const shown = [
    prompt,
    ...lines.flatMap(({ atMillis, text }) => wrap(text).map((text) => ({ text, atMillis, tone: toneOf(text) })))
  ]
  const totalMillis = shown.at(-1)!.atMillis + pauseMillis
  const percent = (millis: number): string => `${Number((100 * millis / totalMillis).toFixed(2))}%`

  // By the moment: how many rows there are then. What is below the frame is not seen yet.
  const rowsAt = new Map<number, number>([[0, 1]])
  shown.forEach(({ atMillis }, index) => rowsAt.set(atMillis, index + 1))
  const last = shown.length
  const frames = [...rowsAt].map(([millis, count]) =>
    `${percent(millis)}{transform:translateY(${-count * rowHeight}px)}`
  )
  const rowsOf = shown.map(({ text, tone }, index) =>
    `<text y="${margin + rows * rowHeight + (index + 1) * rowHeight - 5}" class="${tone}">${escape(text)}</text>`
  )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escape(command)}: ${escape(lines.at(-1)!.text)}</title>`,
    "<style>",
    "text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;white-space:pre;fill:#c9d1d9}",
    ".p{fill:#fff;font-weight:600}.ok{fill:#7ee787}.bad{fill:#ffa657}.sum{fill:#79c0ff;font-weight:600}",
    `.all{animation:run ${totalMillis}ms step-end infinite}`,
    `@keyframes run{${frames.join("")}100%{transform:translateY(${-last * rowHeight}px)}}`,
    // Who wants no movement sees how it ends.
    `@media (prefers-reduced-motion:reduce){.all{animation:none;transform:translateY(${-last * rowHeight}px)}}`,
    "</style>",
    `<rect width="${width}" height="${height}" rx="8" fill="#0d1117"/>`,
    `<clipPath id="screen"><rect y="${margin}" width="${width}" height="${rows * rowHeight}"/></clipPath>`,
    `<g clip-path="url(#screen)"><g transform="translate(${margin})"><g class="all">`,
    ...rowsOf,
    "</g></g></g></svg>",
    ""
  ].join("\n")
}

const wrap = (text: string): ReadonlyArray<string> => {
  const wrapped: Array<string> = []
  let rest = text
  while (rest.length > columns) {
    const space = rest.lastIndexOf(" ", columns)
    wrapped.push(rest.slice(0, space < columns / 2 ? columns : space))
    rest = `  ${rest.slice(space < columns / 2 ? columns : space + 1)}`
  }
  return [...wrapped, rest]
}

const toneOf = (text: string): string =>
  /^(published|confirmed) \d+,/.test(text)
    ? "sum"
    : /: confirmed$|^connected/.test(text)
    ? "ok"
    : /^(disconnected|reconnecting)|no confirm|failed/.test(text)
    ? "bad"
    : "n"

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

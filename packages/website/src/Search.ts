/**
 * How the search of the site ranks what it finds.
 */
interface SearchOptions {
  readonly fuzzy: number
  readonly prefix: boolean
  readonly boost: Readonly<Record<string, number>>
  readonly boostDocument: (id: string) => number
}

/** The site's own pages come before the reference, whose headings are names of options, and as many as those. */
export const options: SearchOptions = {
  fuzzy: 0.2,
  prefix: true,
  boost: { title: 4, text: 2, titles: 1 },
  // It is sent to the browser as its text, and so stands alone.
  boostDocument: (id) => id.includes("/reference/") ? 0.2 : 1
}

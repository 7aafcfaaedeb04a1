/**
 * Finds the links of the built site that lead nowhere: to a page or a file that is not there, or to a heading that its
 * page has not.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import path from "node:path"

interface Page {
  readonly ids: ReadonlySet<string>
  readonly targets: ReadonlyArray<string>
}

const decoded = (text: string): string => decodeURIComponent(text.replaceAll("&amp;", "&"))

const read = (file: string): Page => {
  const html = readFileSync(file, "utf8")
  return {
    ids: new Set([...html.matchAll(/\sid="([^"]*)"/g)].map((match) => decoded(match[1]!))),
    targets: [...html.matchAll(/\s(?:href|src)="([^"]*)"/g)].map((match) => match[1]!)
  }
}

const isElsewhere = (target: string): boolean => /^(?:[a-z]+:|\/\/)/i.test(target)

/** Names the broken links of a site, and counts those that are not. */
export const check = (
  site: string,
  base: string
): { readonly broken: ReadonlyArray<string>; readonly links: number; readonly pages: number } => {
  const files = readdirSync(site, { encoding: "utf8", recursive: true }).filter((file) => file.endsWith(".html"))
  const pages = new Map(files.map((file) => [file, read(path.join(site, file))]))
  const broken: Array<string> = []
  let links = 0
  for (const [file, { targets }] of pages) {
    for (const target of targets) {
      if (isElsewhere(target) || target === "") continue
      links++
      const [location, hash] = target.split("#") as [string, string | undefined]
      const to = location === ""
        ? file
        : path.posix.join(
          location.startsWith("/") ? "." : path.posix.dirname(file),
          decoded(location.startsWith(base) ? location.slice(base.length) : location).replace(/[?].*$/, "")
        )
      const candidates = [to, `${to}.html`, path.posix.join(to, "index.html")]
      const page = candidates.find((candidate) => pages.has(candidate))
      const isThere = page !== undefined || existsSync(path.join(site, to))
      const hasHeading = hash === undefined || hash === "" || pages.get(page ?? "")?.ids.has(decoded(hash)) === true
      if (!isThere || !hasHeading) broken.push(`${file}: ${target}`)
    }
  }
  return { broken: [...new Set(broken)], links, pages: files.length }
}

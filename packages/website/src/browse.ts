/**
 * `docs:browse`: opens every page of the built site in Chromium, at the widths of a telephone and a desk, light and dark.
 * Fails on an error in the console, on what is not found, on a page that is wider than its window, and on text whose
 * contrast is too low. `CHROMIUM` names the browser; screenshots are in `dist/screenshots`.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import path from "node:path"
import { launch } from "puppeteer-core"
import { built, website } from "./Site.ts"

const say = (line: string): void => void process.stdout.write(`${line}\n`)

const types: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".woff2": "font/woff2"
}

const server = createServer((request, response) => {
  const location = decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname)
  const file = [location, `${location}.html`, path.posix.join(location, "index.html")]
    .map((candidate) => path.join(built, candidate))
    .find((candidate) => existsSync(candidate) && path.extname(candidate) !== "")
  if (file === undefined) {
    response.writeHead(404).end()
  } else {
    response.writeHead(200, { "content-type": types[path.extname(file)] ?? "application/octet-stream" })
    response.end(readFileSync(file))
  }
})
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

/** Runs in the page: names text that is hard to read on its background (below 4.5, or 3 where it is large). */
const lowContrast = (): Array<string> => {
  type Colour = readonly [number, number, number, number]
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true })!
  const colourOf = (css: string): Colour => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = css
    canvas.fillRect(0, 0, 1, 1)
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data
    return [r!, g!, b!, a! / 255]
  }
  const over = (top: Colour, below: Colour): Colour => [
    top[0] * top[3] + below[0] * (1 - top[3]),
    top[1] * top[3] + below[1] * (1 - top[3]),
    top[2] * top[3] + below[2] * (1 - top[3]),
    1
  ]
  const luminance = (colour: Colour): number => {
    const [r, g, b] = colour.slice(0, 3).map((value) => {
      const part = value / 255
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!
  }
  const backgroundOf = (element: Element | null): Colour => {
    if (element === null) return colourOf(getComputedStyle(document.documentElement).backgroundColor)
    const own = colourOf(getComputedStyle(element).backgroundColor)
    return own[3] === 1 ? own : over(own, backgroundOf(element.parentElement))
  }
  const found = new Set<string>()
  const walker = document.createTreeWalker(document.querySelector("main") ?? document.body, NodeFilter.SHOW_TEXT)
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement
    if (element === null || !/\w/.test(walker.currentNode.textContent ?? "")) continue
    const style = getComputedStyle(element)
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue
    if (style.backgroundClip === "text" || element.closest("style, script") !== null) continue
    const background = backgroundOf(element)
    const [one, other] = [luminance(over(colourOf(style.color), background)), luminance(background)]
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)
    const size = Number.parseFloat(style.fontSize)
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700)
    if (ratio < (isLarge ? 3 : 4.5)) {
      found.add(`contrast ${ratio.toFixed(1)}: "${(walker.currentNode.textContent ?? "").trim().slice(0, 40)}"`)
    }
  }
  return [...found].slice(0, 5)
}

const pages = readdirSync(built, { encoding: "utf8", recursive: true })
  .filter((file) => file.endsWith(".html") && file !== "404.html")
  .map((file) => `/${file.replace(/(?:index)?\.html$/, "")}`)
  .sort()

const screenshots = path.join(website, "dist/screenshots")
mkdirSync(screenshots, { recursive: true })
const browser = await launch({
  executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"]
})
const problems = new Set<string>()
let seen = 0
for (const scheme of ["light", "dark"] as const) {
  for (const width of [390, 1440]) {
    const page = await browser.newPage()
    await page.setViewport({ width, height: width === 390 ? 844 : 900 })
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }])
    let where = ""
    const problem = (what: string) => problems.add(`${where} (${width}, ${scheme}): ${what}`)
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warn") problem(`console: ${message.text()}`)
    })
    page.on("pageerror", (error) => problem(`error: ${String(error)}`))
    page.on("response", (response) => {
      if (response.status() >= 400) problem(`${response.status()} ${response.url()}`)
    })
    for (const location of pages) {
      where = location
      await page.goto(origin + location, { waitUntil: "networkidle0" })
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
      if (overflow > 0) problem(`${overflow} pixels wider than its window`)
      for (const text of await page.evaluate(lowContrast)) problem(text)
      const name = `${location.slice(1).replaceAll("/", "-") || "home"}-${width}-${scheme}.png`
      await page.screenshot({ path: path.join(screenshots, name) as `${string}.png` })
      seen++
    }
    await page.close()
  }
}

// The search finds a reason of an error, and leads to it.
const page = await browser.newPage()
await page.setViewport({ width: 1440, height: 900 })
await page.goto(origin, { waitUntil: "networkidle0" })
await page.click("#local-search button")
await page.waitForSelector("#localsearch-input")
await page.type("#localsearch-input", "TopologyMismatch")
await page.waitForSelector("#localsearch-list a")
const results = await page.$$eval("#localsearch-list a", (links) => links.map((link) => link.getAttribute("href")))
if (!results.some((href) => href?.includes("troubleshooting"))) problems.add(`search: found ${results.join(", ")}`)
await page.screenshot({ path: path.join(screenshots, "search.png") as `${string}.png` })

await browser.close()
server.close()
for (const problem of problems) say(problem)
say(`${pages.length} pages, ${seen} views, ${results.length} search results, ${problems.size} problems`)
if (problems.size > 0) process.exitCode = 1

import { existsSync } from "node:fs"
import path from "node:path"
import { defineConfig } from "vitepress"
import type { DefaultTheme } from "vitepress"
import { contents } from "../../src/contents.ts"
import * as Reference from "../../src/Reference.ts"
import * as Search from "../../src/Search.ts"
import { base, built, website, workspace } from "../../src/Site.ts"

const repository = "https://github.com/effect-amqp/effect-amqp"

const reference: ReadonlyArray<DefaultTheme.SidebarItem> = Reference.packages.map((documented) => ({
  text: documented.name,
  link: `/reference/${documented.name}/`,
  items: Reference.modulesOf(documented).map((module) => ({
    text: module,
    link: `/reference/${documented.name}/${module}`
  }))
}))

export default defineConfig({
  lang: "en",
  title: "effect-amqp",
  description:
    "RabbitMQ for Effect, as Layers: confirmed publishing, supervised consumers, an embedded broker for tests",
  base,
  outDir: built,
  cacheDir: `${website}/dist/cache`,
  cleanUrls: true,
  lastUpdated: false,
  // The build looks for links that lead nowhere by itself, those to headings too: see src/Links.ts.
  ignoreDeadLinks: true,
  head: [["link", { rel: "icon", href: `${base}logo.svg`, type: "image/svg+xml" }]],
  themeConfig: {
    logo: "/logo.svg",
    search: { provider: "local", options: { miniSearch: { searchOptions: Search.options } } },
    outline: [2, 3],
    socialLinks: [{ icon: "github", link: repository }],
    nav: [
      { text: "Get started", link: "/getting-started" },
      { text: "Tutorials", link: "/tutorials/hello-world", activeMatch: "^/tutorials/" },
      { text: "Guides", link: "/guides/reliability", activeMatch: "^/guides/" },
      { text: "Troubleshooting", link: "/troubleshooting" },
      { text: "Reference", link: "/reference/effect-amqp/", activeMatch: "^/reference/" }
    ],
    sidebar: { "/reference/": [...reference], "/": [...contents] },
    footer: { message: "MIT licensed" }
  },
  markdown: {
    theme: { light: "github-light-high-contrast", dark: "github-dark-high-contrast" },
    config(md) {
      // Pages that include a file of docs have its links: to what has no page here they lead to the repository.
      md.core.ruler.push("links-of-docs", ({ env, tokens }) => {
        const page = (env as { readonly path?: string }).path
        if (page === undefined) return
        for (const token of tokens.flatMap(({ children }) => children ?? [])) {
          const [, file, hash] = /^([\w-]+\.md)(#.*)?$/.exec(token.attrGet("href") ?? "") ?? []
          if (file === undefined || existsSync(path.join(path.dirname(page), file))) continue
          if (existsSync(path.join(workspace, "docs", file))) {
            token.attrSet("href", `${repository}/blob/main/docs/${file}${hash ?? ""}`)
          }
        }
      })
      // The name of a file stands above its program.
      const fence = md.renderer.rules.fence!
      md.renderer.rules.fence = (tokens, index, options, environment, self) => {
        const [, name] = /\[([\w.-]+)\]/.exec(tokens[index]!.info) ?? []
        const block = fence(tokens, index, options, environment, self)
        return name === undefined ? block : `<div class="file"><span class="file-name">${name}</span>${block}</div>`
      }
    }
  }
})

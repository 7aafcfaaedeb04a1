/**
 * Where the parts of the site lie.
 */
import path from "node:path"

export const website = path.join(import.meta.dirname, "..")
export const workspace = path.join(website, "../..")

/** The pages as they are written; what is generated joins them. */
export const pages = path.join(website, "pages")

/** The site as it is built. */
export const built = path.join(website, "dist/site")

/** Where the site is served from; `DOCS_BASE` names another place, such as `/effect-amqp/`. */
export const base = process.env["DOCS_BASE"] ?? "/"

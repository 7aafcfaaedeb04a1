/**
 * Routing keys as templates: `order.{id}.paid` has the field `id` of the payload in it.
 */

const field = /\{([^{}]*)\}/g
const maxBytes = 255

/** The template cut at its fields: text and names in turn, beginning and ending with text. */
const partsOf = (template: string): ReadonlyArray<string> => template.split(/\{([^{}]*)\}/)

// A template is cut once, not once a message.
const cut = new Map<string, ReadonlyArray<string>>()

const parts = (template: string): ReadonlyArray<string> => {
  let known = cut.get(template)
  if (known === undefined) {
    known = partsOf(template)
    cut.set(template, known)
  }
  return known
}

/** The names of the fields, in their order. */
export const fields = (template: string): ReadonlyArray<string> =>
  Array.from(template.matchAll(field), ([, name]) => name!)

/** The pattern that a topic exchange binds. */
export const pattern = (template: string): string => template.replace(field, "*")

/** What is wrong with a template, as the end of a sentence. */
export const problem = (template: string): string | undefined => {
  if (/[*#]/.test(template)) return "has a * or a #; a key is no pattern"
  if (/[{}]/.test(template.replace(field, ""))) return "has a brace that is not closed"
  if (fields(template).some((name) => name === "")) return "has a field without a name"
  if (template.split(".").some((word) => /\{.*\}/.test(word) && !/^\{[^{}]*\}$/.test(word))) {
    return "has a field that is only a part of a word; a * binds whole words, so give the field a word of its own"
  }
  return Buffer.byteLength(template) > maxBytes ? `has more than ${maxBytes} bytes` : undefined
}

/** The routing key of a payload, or why it has none. */
export const fill = (template: string, payload: unknown): string | { readonly problem: string } => {
  const words = parts(template)
  if (words.length === 1) return template
  let key = words[0]!
  for (let index = 1; index < words.length; index += 2) {
    const name = words[index]!
    const value = (payload as Readonly<Record<string, unknown>> | null | undefined)?.[name]
    if (typeof value !== "string" && !Number.isFinite(value)) {
      return {
        problem:
          `the field "${name}" of the payload is no string and no finite number, and cannot stand in "${template}"`
      }
    }
    const word = String(value)
    if (word === "" || /[.*#]/.test(word)) {
      return {
        problem:
          `the field "${name}" of the payload is "${word.slice(0, 80)}"; in the key "${template}" it may not be ` +
          "empty, nor have a \".\", \"*\" or \"#\""
      }
    }
    key += word + words[index + 1]!
  }
  return Buffer.byteLength(key) > maxBytes
    ? {
      problem: `the key "${key.slice(0, 80)}…" has ${Buffer.byteLength(key)} bytes, and a key has at most ${maxBytes}`
    }
    : key
}

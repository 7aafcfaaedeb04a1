/** Names what a value is, with its article, for the text of an error. */
export const describe = (value: unknown): string =>
  value === null
    ? "null"
    : Array.isArray(value)
    ? "an array"
    : value === undefined
    ? "missing"
    : typeof value === "object"
    ? "an object"
    : `a ${typeof value}`

/** Renders a number as the random part of a name that the broker generates. */
export const encodeToken = (value: number): string =>
  globalThis.Buffer.from(`${value}`.padStart(16, "0")).toString("base64url")

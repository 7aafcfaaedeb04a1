/**
 * Numbers whose type on the wire is chosen, where a program in another language expects that type.
 */

/** The types of a number in a header table, each with its letter on the wire. */
export const numberTags = {
  int8: 0x62, // b
  uint8: 0x42, // B
  int16: 0x73, // s
  uint16: 0x75, // u
  int32: 0x49, // I
  uint32: 0x69, // i
  int64: 0x6c, // l
  float32: 0x66, // f
  float64: 0x64, // d
  decimal: 0x44, // D
  timestamp: 0x54 // T
} as const

/** A type that a number can have in a header table. */
export type NumberType = keyof typeof numberTags

/** A number together with its type on the wire. */
export class TypedNumber {
  readonly type: NumberType
  /** Of a decimal the digits, of a timestamp the seconds since 1970. */
  readonly value: number | bigint
  /** How many of the digits of a decimal stand behind its point. */
  readonly places: number

  constructor(type: NumberType, value: number | bigint, places = 0) {
    this.type = type
    this.value = value
    this.places = places
  }
}

/** How many bytes a number of a type needs behind its letter. */
export const numberSize: { readonly [T in NumberType]: number } = {
  int8: 1,
  uint8: 1,
  int16: 2,
  uint16: 2,
  int32: 4,
  uint32: 4,
  int64: 8,
  float32: 4,
  float64: 8,
  decimal: 5,
  timestamp: 8
}

const ranges: { readonly [T in NumberType]?: readonly [least: bigint, most: bigint] } = {
  int8: [-0x80n, 0x7fn],
  uint8: [0n, 0xffn],
  int16: [-0x8000n, 0x7fffn],
  uint16: [0n, 0xffffn],
  int32: [-0x80000000n, 0x7fffffffn],
  uint32: [0n, 0xffffffffn],
  int64: [-0x8000000000000000n, 0x7fffffffffffffffn],
  decimal: [0n, 0xffffffffn],
  timestamp: [-0x8000000000000000n, 0x7fffffffffffffffn]
}

/** Says why a number cannot be written with its type; `undefined` if it can. */
export const typedNumberProblem = ({ places, type, value }: TypedNumber): string | undefined => {
  if (type === "float32" || type === "float64") {
    return typeof value === "number" && Number.isFinite(value)
      ? undefined
      : `${value} cannot be sent as a ${type}; use a finite number`
  }
  const range = ranges[type]
  if (range === undefined) return `"${type}" is no type of a number`
  const [least, most] = range
  if (typeof value === "number" && !Number.isInteger(value)) return `${value} is not a whole number, as ${type} must be`
  if (value < least || value > most) return `${value} is out of the range of ${type}, ${least} to ${most}`
  if (type === "decimal" && !(Number.isInteger(places) && places >= 0 && places <= 255)) {
    return `a decimal cannot have ${places} places; use 0 to 255`
  }
  return undefined
}

import { Arbitrary, Schema } from "effect"

/** Arbitrary whole numbers, both ends included. */
export const between = (minimum: number, maximum: number): Arbitrary.Arbitrary<number> =>
  Arbitrary.schema(Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum, maximum }))))

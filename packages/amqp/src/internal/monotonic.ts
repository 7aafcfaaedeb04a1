/**
 * Milliseconds of a clock that nobody can set, for how long something takes and when it is due. The time of day may
 * jump: a deadline that is read from it would come an hour late, or at once.
 */
import type * as Clock from "effect/Clock"

/** Whole milliseconds since some moment in the past. */
export const millis = (clock: Clock.Clock): number => Math.floor(Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000)

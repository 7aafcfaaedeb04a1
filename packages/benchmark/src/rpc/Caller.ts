/** The work of every contender of the RPC benchmark: a server that adds two numbers, and a client that calls it. */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** A client and its server, connected. */
export interface Caller {
  /** Makes so many calls, so many at once, and checks their answers. */
  readonly call: (count: number, atOnce: number) => Promise<void>
  /** Reads a stream of so many numbers in parts of 100, if it can. */
  readonly stream?: (count: number) => Promise<void>
}

/** Makes a caller at a broker, with a queue of its own by this name. */
export type Contender = (url: string, queue: string) => Effect.Effect<Caller, never, Scope.Scope>

/** Runs so many calls by so many loops. */
export const inLoops = async (count: number, atOnce: number, one: (n: number) => Promise<number>): Promise<void> => {
  let next = 0
  const loop = async (): Promise<void> => {
    for (let n = next++; n < count; n = next++) {
      if (await one(n) !== n + 1) throw new Error(`a wrong answer to call ${n}`)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, loop))
}

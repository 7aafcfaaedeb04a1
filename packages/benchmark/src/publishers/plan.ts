/** The plan of the publish benchmark: contenders, windows, bodies and rounds. */
import type { ContenderName } from "./contenders.ts"

/** One contender with one window. */
export interface Entrant {
  readonly contender: ContenderName
  readonly inFlight: number
}

/** Contenders that are measured together, with the same body before the same server. */
export interface Heat {
  readonly bodyBytes: number
  readonly entrants: ReadonlyArray<Entrant>
  readonly rounds: number
  /** Messages of one round, by the number in flight. */
  readonly messages: (inFlight: number) => number
}

/** The options of the command line. */
export interface PlanOptions {
  readonly quick: boolean
  readonly rounds: number | undefined
  readonly messages: number | undefined
}

const peers: ReadonlyArray<ContenderName> = [
  "amqplib, promises",
  "rabbitmq-client",
  "@cloudamqp/amqp-client",
  "amqp-connection-manager",
  "rascal"
]

const each = (contenders: ReadonlyArray<ContenderName>, ...windows: ReadonlyArray<number>): ReadonlyArray<Entrant> =>
  contenders.flatMap((contender) => windows.map((inFlight) => ({ contender, inFlight })))

const quick: ReadonlyArray<Entrant> = [
  ...each(["raw socket"], 100),
  ...each(["amqplib, callbacks", "Effect.callback"], 100, 1000),
  ...each(["@cloudamqp/amqp-client", "Effect.callback, timeout"], 100),
  ...each(["effect-amqp publish", "effect-amqp publishAll", "effect-amqp sink"], 100, 1000)
]

const everything: ReadonlyArray<Entrant> = [
  ...each(["raw socket"], 100, 1000),
  ...each(["amqplib, callbacks", "Effect.callback"], 1, 100, 1000),
  ...each(["amqplib, promises", "rascal", "Effect.callback, timeout"], 100),
  ...each(["rabbitmq-client", "@cloudamqp/amqp-client", "amqp-connection-manager"], 1, 100, 1000),
  ...each(["effect-amqp publish"], 1, 100, 1000),
  ...each(["effect-amqp publishAll", "effect-amqp sink"], 100, 1000)
]

/** The windows for a body size. Larger windows would be beyond the byte window of the library. */
const sized = (largestWindow: number): ReadonlyArray<Entrant> => {
  const middle = Math.min(100, largestWindow)
  const windows = [...new Set([middle, largestWindow])]
  return [
    ...each(["raw socket"], middle),
    ...each(["amqplib, callbacks"], 1, ...windows),
    ...each(peers, middle),
    ...each(["effect-amqp publish"], 1, ...windows),
    ...each(["effect-amqp publishAll", "effect-amqp sink"], largestWindow)
  ]
}

// Messages of one turn with small bodies: fewer, and garbage collection that falls into one turn or another shows.
const turn = 20_000

/** The heats of a run, with the body sizes of the issue. */
export const heats = (options: PlanOptions): ReadonlyArray<Heat> => {
  const heat = (
    bodyBytes: number,
    entrants: ReadonlyArray<Entrant>,
    rounds: number,
    many: number,
    oneByOne: number
  ): Heat => ({
    bodyBytes,
    entrants,
    rounds: options.rounds ?? rounds,
    messages: (inFlight) => {
      const share = options.messages === undefined ? 1 : options.messages / turn
      return Math.max(inFlight, Math.round((inFlight === 1 ? oneByOne : many) * share))
    }
  })
  if (options.quick) return [heat(256, quick, 3, turn, 500)]
  return [
    heat(256, everything, 5, turn, 1000),
    heat(16, sized(1000), 3, turn, 1000),
    heat(16 * 1024, sized(1000), 3, 5000, 500),
    heat(1024 * 1024, sized(15), 3, 150, 30)
  ]
}

/**
 * Many messages by one fiber: a window of them is kept on its way, each has its own outcome, and the fiber sleeps while
 * the window is full. The messages of a window wait together, so that their deadlines run together.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Pull from "effect/Pull"
import * as Semaphore from "effect/Semaphore"
import * as Sink from "effect/Sink"
import type { Message } from "../../AmqpMessage.ts"
import type { BatchFailure } from "../../PublishError.ts"
import { BatchError, PublishError } from "../../PublishError.ts"
import { count } from "../checkOptions.ts"
import type { WakeLater } from "../wakeLater.ts"
import type { Encoded } from "../wire/encodeMessage.ts"
import type { Channels } from "./channels.ts"
import type { Entry, Outcome, Owner } from "./entry.ts"
import type { Prepare } from "./prepare.ts"
import * as Span from "./span.ts"

/** Hears the outcome of one message. Interrupted when its waiter is gone. */
export type OnOutcome = (exit: Exit.Exit<void, PublishError>) => void

/** What a batch sends with. */
export interface BatchOptions {
  readonly channels: Channels
  readonly prepare: Prepare
  readonly wakeLater: WakeLater
  readonly spans: Span.Spans | undefined
  /** The window of a batch that has none of its own. */
  readonly maxInFlight: number
  readonly maxInFlightBytes: number
}

/** The place of one message in its batch. */
class Place implements Owner {
  readonly batch: Batch
  readonly index: number
  readonly message: Message
  readonly onOutcome: OnOutcome | undefined

  constructor(batch: Batch, index: number, message: Message, onOutcome: OnOutcome | undefined) {
    this.batch = batch
    this.index = index
    this.message = message
    this.onOutcome = onOutcome
  }

  settled(outcome: Outcome, entry: Entry): void {
    this.batch.settledOne(this, outcome, entry)
  }
}

interface Sleeper {
  readonly isOver: () => boolean
  readonly wake: () => void
}

/** The messages of one batch or one stream. */
class Batch {
  readonly #options: BatchOptions
  readonly #window: number
  /** Those whose outcome somebody else wants to hear of, too. */
  readonly #observed = new Set<Place>()
  readonly #sleepers = new Set<Sleeper>()
  #pushed = 0
  #outstanding = 0
  #outstandingBytes = 0
  confirmed = 0
  /** Failures that nobody has taken yet. */
  failures: Array<BatchFailure> = []

  constructor(options: BatchOptions, window: number) {
    this.#options = options
    this.#window = window
  }

  /** Tells if the next message has to wait, because the window is full of messages or of bytes. */
  get isFull(): boolean {
    if (this.#outstanding === 0) return false
    return this.#outstanding >= this.#window || this.#outstandingBytes >= this.#options.maxInFlightBytes ||
      !this.#options.channels.hasRoom()
  }

  /** Sends a message on its way; one that cannot be encoded has failed already. */
  push(message: Message, encoded: Encoded | PublishError, onOutcome?: OnOutcome): void {
    const index = this.#pushed++
    if (encoded instanceof PublishError) {
      onOutcome?.(Exit.fail(encoded))
      this.failures.push({ index, message, error: encoded })
      this.#wakeIfDue()
      return
    }
    const place = new Place(this, index, message, onOutcome)
    if (onOutcome !== undefined) this.#observed.add(place)
    this.#outstanding++
    this.#outstandingBytes += encoded.body.byteLength
    this.#options.channels.submit(encoded, place)
  }

  settledOne(place: Place, outcome: Outcome, { encoded }: Entry): void {
    this.#outstanding--
    this.#outstandingBytes -= encoded.body.byteLength
    let error: PublishError | undefined
    if (outcome === undefined) this.confirmed++
    else {
      error = new PublishError({ reason: outcome, messageId: encoded.properties.messageId })
      this.failures.push({ index: place.index, message: place.message, error })
    }
    const { onOutcome } = place
    if (onOutcome !== undefined) {
      this.#observed.delete(place)
      this.#options.wakeLater(() => onOutcome(error === undefined ? Exit.void : Exit.fail(error)))
    }
    this.#wakeIfDue()
  }

  #wakeIfDue(): void {
    for (const sleeper of this.#sleepers) {
      if (!sleeper.isOver()) continue
      this.#sleepers.delete(sleeper)
      this.#options.wakeLater(sleeper.wake)
    }
  }

  /** Sleeps until a message can be pushed. */
  readonly room: Effect.Effect<void> = this.#sleepUntil(() => !this.isFull)

  /** Sleeps until everything has its outcome. */
  readonly settled: Effect.Effect<void> = this.#sleepUntil(() => this.#outstanding === 0)

  /** Sleeps until there is a failure that nobody has taken. */
  readonly failed: Effect.Effect<void> = this.#sleepUntil(() => this.failures.length > 0)

  #sleepUntil(isOver: () => boolean): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (isOver()) return resume(Effect.void)
      const sleeper: Sleeper = { isOver, wake: () => resume(Effect.void) }
      this.#sleepers.add(sleeper)
      return Effect.sync(() => {
        this.#sleepers.delete(sleeper)
      })
    })
  }

  /** Nobody waits any more: what is not written is not sent, and the rest keeps its place until it is answered. */
  abandon(): void {
    this.#options.channels.abandonAll((owner) => owner instanceof Place && owner.batch === this)
    for (const { onOutcome } of this.#observed) onOutcome?.(Exit.interrupt())
    this.#observed.clear()
  }
}

/** Uses a batch; whatever ends the use, nobody waits for its messages afterwards. */
const withBatch = <A, E, R>(
  options: BatchOptions,
  inFlight: number | undefined,
  use: (batch: Batch) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.acquireUseRelease(
    Effect.map(
      Effect.orDie(count("inFlight", inFlight ?? options.maxInFlight)),
      (window) => new Batch(options, window)
    ),
    use,
    (batch, exit) => Exit.isFailure(exit) ? Effect.sync(() => batch.abandon()) : Effect.void
  )

/** Puts messages into a batch as it has room for them. */
const feed = Effect.fnUntraced(function*<E, R>(
  { prepare, spans }: BatchOptions,
  batch: Batch,
  messages: Iterable<Message>,
  onFailures: Effect.Effect<void, E, R>
): Effect.fn.Return<void, E, R> {
  for (const message of messages) {
    while (batch.isFull) {
      yield* batch.room
      if (batch.failures.length > 0) yield* onFailures
    }
    if (spans !== undefined) {
      const span = yield* spans.begin(message)
      const encoded = prepare(message, Span.headers(message, span))
      spans.encoded(span, encoded)
      batch.push(message, encoded, (exit) => spans.end(span, exit))
    } else {
      batch.push(message, prepare(message))
    }
  }
  if (batch.failures.length > 0) yield* onFailures
})

/** Publishes the messages of an iterable, and fails with those that were not confirmed. */
export const publishAll = (
  options: BatchOptions,
  messages: Iterable<Message>,
  inFlight: number | undefined
): Effect.Effect<void, BatchError> =>
  withBatch(
    options,
    inFlight,
    (batch) =>
      Effect.acquireUseRelease(
        Effect.sync(() => messages[Symbol.iterator]()),
        (iterator) => feed(options, batch, { [Symbol.iterator]: () => iterator }, Effect.void),
        // A generator that is not read to its end has something to clean up.
        (iterator) => Effect.sync(() => void iterator.return?.())
      ).pipe(
        Effect.andThen(batch.settled),
        Effect.flatMap(() => {
          const [first, ...rest] = batch.failures.sort((one, other) => one.index - other.index)
          return first === undefined
            ? Effect.void
            : Effect.fail(new BatchError({ confirmed: batch.confirmed, failures: [first, ...rest] }))
        })
      )
  )

/** Publishes the messages of a stream, hands over each that was not confirmed, and gives the number of the others. */
export const sink = <E, R>(
  options: BatchOptions,
  inFlight: number | undefined,
  onFailure: (failure: BatchFailure) => Effect.Effect<void, E, R>
): Sink.Sink<number, Message, never, E, R> =>
  Sink.fromTransform((upstream) =>
    withBatch(options, inFlight, (batch) => {
      const onFailures = Semaphore.makeUnsafe(1).withPermit(Effect.suspend(() => {
        const failures = batch.failures
        batch.failures = []
        return Effect.forEach(failures, onFailure, { discard: true })
      }))
      const next = Pull.catchDone(upstream, () => Effect.succeed(undefined))
      const feedAll = Effect.gen(function*() {
        for (let messages = yield* next; messages !== undefined; messages = yield* next) {
          yield* feed(options, batch, messages, onFailures)
        }
        yield* batch.settled
        yield* onFailures
        return [batch.confirmed] as const
      })
      // Upstream may have nothing for long, and a failure is not to wait for its next message.
      return Effect.raceFirst(feedAll, Effect.forever(Effect.andThen(batch.failed, onFailures)))
    })
  )

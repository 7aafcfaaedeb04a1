/**
 * A group with one Rpc of each kind, and handlers that say what became of them.
 */
import { Context, Effect, Layer, Schema, Stream } from "effect"
import { AmqpRpc } from "effect-amqp-rpc"
import { Rpc, RpcGroup } from "effect/rpc"

export class NotEnough extends Schema.TaggedError<NotEnough>()("NotEnough", { have: Schema.Number }) {}

export const Add = Rpc.make("Add", { payload: { a: Schema.Number, b: Schema.Number }, success: Schema.Number })
export const Take = Rpc.make("Take", { payload: { n: Schema.Number }, success: Schema.Date, error: NotEnough })
export const Count = Rpc.make("Count", { payload: { to: Schema.Number }, success: Schema.Number, stream: true })
export const CountThenFail = Rpc.make("CountThenFail", {
  payload: { to: Schema.Number },
  success: Schema.Number,
  error: NotEnough,
  stream: true
})
export const Never = Rpc.make("Never", { payload: { id: Schema.String }, success: Schema.Void })
export const Wait = Rpc.make("Wait", {
  payload: { id: Schema.String, millis: Schema.Number },
  success: Schema.String
})
export const KillServer = Rpc.make("KillServer", { success: Schema.Void })
export const Die = Rpc.make("Die", { payload: { reason: Schema.String }, success: Schema.Void })
export const Echo = Rpc.make("Echo", { payload: { text: Schema.String }, success: Schema.String })
export const Later = Rpc.make("Later", {
  payload: { n: Schema.Number, millis: Schema.Number },
  success: Schema.Number
})
export const Large = Rpc.make("Large", { payload: { bytes: Schema.Number }, success: Schema.String })
export const WhoAmI = Rpc.make("WhoAmI", { success: Schema.String })
export const TraceId = Rpc.make("TraceId", { success: Schema.String })
export const Charge = Rpc.make("Charge", {
  payload: { id: Schema.String, millis: Schema.Number },
  success: Schema.String
}).middleware(AmqpRpc.AtMostOnce)

export class Calc extends RpcGroup.make(
  Add,
  Take,
  Count,
  CountThenFail,
  Never,
  Wait,
  KillServer,
  Die,
  Echo,
  Later,
  Large,
  WhoAmI,
  TraceId,
  Charge
) {}

/** What handlers have done. */
export class Journal extends Context.Service<Journal, {
  /** Who began and ended what, in order. */
  readonly lines: Array<string>
  /** How many numbers were counted. */
  produced: number
}>()("test/Journal") {}

/** Handlers of a server, which note what they do. */
export const handlers = (server = "server") =>
  Calc.toLayer(Effect.gen(function*() {
    const journal = yield* Journal
    const noting = <A, E, R>(name: string, effect: Effect.Effect<A, E, R>) =>
      Effect.suspend(() => {
        journal.lines.push(`${server} began ${name}`)
        return effect
      }).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() =>
            journal.lines.push(`${server} ${exit._tag === "Success" ? "ended" : "interrupted"} ${name}`)
          )
        )
      )
    return Calc.of({
      Add: ({ a, b }) => Effect.succeed(a + b),
      Take: ({ n }) => n > 3 ? Effect.fail(new NotEnough({ have: 3 })) : Effect.succeed(new Date(0)),
      Count: ({ to }) =>
        Stream.range(1, to).pipe(
          Stream.rechunk(100),
          Stream.mapArray((chunk) => {
            journal.produced += chunk.length
            return chunk
          }),
          Stream.ensuring(Effect.sync(() => journal.lines.push(`${server} released Count`)))
        ),
      CountThenFail: ({ to }) => Stream.concat(Stream.range(1, to), Stream.fail(new NotEnough({ have: to }))),
      Never: ({ id }) => noting(id, Effect.never),
      Wait: ({ id, millis }) => noting(id, Effect.as(Effect.sleep(millis), server)),
      KillServer: () => Effect.andThen(Effect.sync(() => process.kill(process.pid, "SIGKILL")), Effect.never),
      Die: ({ reason }) => Effect.die(new Error(reason)),
      Echo: ({ text }) => Effect.succeed(text),
      Later: ({ millis, n }) => Effect.as(Effect.sleep(millis), n),
      Large: ({ bytes }) => Effect.succeed("x".repeat(bytes)),
      WhoAmI: (_, { headers }) => Effect.succeed(headers["user"] ?? "nobody"),
      TraceId: () => Effect.map(Effect.orDie(Effect.currentSpan), ({ traceId }) => traceId),
      Charge: ({ id, millis }) => noting(id, Effect.as(Effect.sleep(millis), server))
    })
  }))

export const journal: Layer.Layer<Journal> = Layer.sync(Journal)(() => ({ lines: [], produced: 0 }))

/**
 * The two ends of a service of `Calc`, on whatever broker, each in a scope of its own that is closed with its maker's at
 * the latest.
 */
import { Context, Effect, Exit, Layer, Scope } from "effect"
import type { AmqpConnection } from "effect-amqp"
import { AmqpRpc } from "effect-amqp-rpc"
import { RpcClient, RpcServer } from "effect/rpc"
import type { RpcSerialization } from "effect/rpc"
import { Calc, handlers } from "./Calc.ts"

interface Options {
  readonly service: AmqpRpc.Service
  readonly amqp: Layer.Layer<
    AmqpConnection.AmqpConnection | RpcSerialization.RpcSerialization,
    Layer.Error<ReturnType<typeof AmqpConnection.layer>>
  >
}

/** A server whose handlers say its name. */
export const serverLayer = (name: string, service: AmqpRpc.Service, options: AmqpRpc.ServerOptions = {}) =>
  RpcServer.layer(Calc).pipe(Layer.provide(handlers(name)), Layer.provide(AmqpRpc.layerServer(service, options)))

/** Starts a server. */
export const server = Effect.fnUntraced(function*(name: string, options: Options & AmqpRpc.ServerOptions) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  yield* serverLayer(name, options.service, options).pipe(Layer.provide(options.amqp), Layer.buildWithScope(scope))
  return { name, close: Scope.close(scope, Exit.void) }
})

/** Makes a client. */
export const client = Effect.fnUntraced(function*(name: string, options: Options & AmqpRpc.ClientOptions) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const context = yield* AmqpRpc.layerClient(options.service, options).pipe(
    Layer.provide(options.amqp),
    Layer.buildWithScope(scope)
  )
  const calls = yield* RpcClient.make(Calc).pipe(
    Effect.provideContext(Context.merge(context, Context.make(Scope.Scope, scope)))
  )
  return { ...calls, name, protocol: Context.get(context, RpcClient.Protocol), close: Scope.close(scope, Exit.void) }
})

/**
 * The shop as one layer: connection, topology, publisher, worker and HTTP API. Released, it stops accepting requests,
 * finishes what it has begun, and closes the connection.
 */
import { NodeHttpServer } from "@effect/platform-node"
import { Layer } from "effect"
import type { Redacted } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { HttpRouter } from "effect/http"
import { createServer } from "node:http"
import * as Api from "./Api.ts"
import { topology } from "./Contracts.ts"
import * as Worker from "./Worker.ts"

/** The broker, and the port of the API. */
export interface Options {
  /** The URL of the broker. Defaults to the embedded broker. */
  readonly endpoints?: ReadonlyArray<Redacted.Redacted> | undefined
  /** The port of the API. 0 takes a free one. */
  readonly port: number
}

/** The whole shop, without its journal. */
export const layer = (options: Options) =>
  Layer.mergeAll(HttpRouter.serve(Api.routes, { disableLogger: true, disableListenLog: true }), Worker.layer).pipe(
    Layer.provideMerge(NodeHttpServer.layer(createServer, { port: options.port, host: "127.0.0.1" })),
    Layer.provideMerge(AmqpPublisher.layer({ tracing: true })),
    Layer.provide(AmqpTopology.layer(topology)),
    Layer.provideMerge(AmqpConnection.layer({ endpoints: options.endpoints, connectionName: "shop" }))
  )

/**
 * Stands between a client and a broker, and treats their connections as networks do: refuses, stalls, swallows, delays,
 * cuts in the middle of a frame, and drops one side only. Works below AMQP, so all but `inject` works under TLS too.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Socket } from "node:net"
import { connect, createServer } from "node:net"
import * as LoopbackServer from "./LoopbackServer.ts"

/**
 * The treatment of connections.
 *
 * - `pass`: they reach the broker.
 * - `refuse`: they are reset as soon as they are accepted.
 * - `acceptSilent`: they are accepted and never answered; the broker does not hear of them.
 * - `blackhole`: bytes of open and new connections vanish in both directions, and so do their ends; the sockets stay open.
 */
export type Mode = "pass" | "refuse" | "acceptSilent" | "blackhole"

/**
 * `down` is from the broker to the client, `up` from the client to the broker.
 */
export type Direction = "down" | "up"

/**
 * The ways to cut a connection: with an orderly end, with a reset, or by never passing another byte.
 */
export type CutHow = "fin" | "rst" | "hang"

/**
 * A proxy between a client and a broker. Faults without a mode hit the connections that are open at that moment.
 */
export interface Service {
  readonly host: string
  readonly port: number
  /** The given URL of the broker, with this proxy's host and port in place of the broker's. */
  readonly through: (url: string) => string
  /** The number of clients that are connected at this moment. */
  readonly connections: Effect.Effect<number>
  readonly setMode: (mode: Mode) => Effect.Effect<void>
  /** Stops reading one side, so that its buffers and then its writes fill up. */
  readonly pause: (direction: Direction) => Effect.Effect<void>
  readonly resume: (direction: Direction) => Effect.Effect<void>
  /** Resets both sides. */
  readonly reset: Effect.Effect<void>
  /** Resets the client's side only: the broker holds on to a connection that nobody uses any more. */
  readonly resetClient: Effect.Effect<void>
  /** Ends both sides in an orderly way. */
  readonly fin: Effect.Effect<void>
  /** Holds back every chunk of bytes for this long, in both directions, order kept. */
  readonly setLatency: (millis: number) => Effect.Effect<void>
  /** Lets this many more bytes pass in a direction on each open and each new connection, then cuts it. */
  readonly cutAfter: (direction: Direction, bytes: number, how: CutHow) => Effect.Effect<void>
  /** Cancels `cutAfter`. */
  readonly clearCut: Effect.Effect<void>
  /** Writes bytes to the clients in the broker's name. */
  readonly inject: (bytes: Uint8Array) => Effect.Effect<void>
}

/**
 * The proxy that a test has.
 */
export class FaultProxy extends Context.Service<FaultProxy, Service>()("effect-amqp-test-rig/FaultProxy") {}

/**
 * The broker behind the proxy.
 */
export interface Options {
  readonly host?: string | undefined
  readonly port: number
}

/**
 * Opens a proxy that passes every byte until told otherwise. Closes with the scope.
 */
export const make = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Service, never, Scope.Scope> {
  const links = new Set<Link>()
  const paused = new Set<Direction>()
  const cuts = new Map<Direction, { readonly bytes: number; readonly how: CutHow }>()
  const faults: Faults = { mode: "pass", latency: 0, paused, cuts }

  const server = yield* LoopbackServer.make(createServer({ allowHalfOpen: true }, (client) => {
    client.on("error", () => {})
    if (faults.mode === "refuse") {
      client.resetAndDestroy()
    } else {
      const link = new Link(client, { host: options.host ?? "127.0.0.1", port: options.port }, faults)
      links.add(link)
      link.closed.then(() => links.delete(link))
    }
  }))
  yield* Effect.addFinalizer(() => Effect.sync(() => links.forEach((link) => link.destroy())))

  const each = (apply: (link: Link) => void): Effect.Effect<void> => Effect.sync(() => [...links].forEach(apply))

  return {
    host: "127.0.0.1",
    port: server.port,
    through: (url) => {
      const detour = new URL(url)
      detour.hostname = "127.0.0.1"
      detour.port = `${server.port}`
      return detour.href
    },
    connections: Effect.sync(() => [...links].filter((link) => !link.client.destroyed).length),
    setMode: (mode) =>
      Effect.sync(() => {
        faults.mode = mode
      }),
    pause: (direction) =>
      Effect.andThen(Effect.sync(() => paused.add(direction)), each((link) => link.flow(direction))),
    resume: (direction) =>
      Effect.andThen(Effect.sync(() => paused.delete(direction)), each((link) => link.flow(direction))),
    reset: each((link) => link.reset()),
    resetClient: each((link) => link.resetClient()),
    fin: each((link) => link.fin()),
    setLatency: (millis) =>
      Effect.sync(() => {
        faults.latency = millis
      }),
    cutAfter: (direction, bytes, how) =>
      Effect.andThen(
        Effect.sync(() => cuts.set(direction, { bytes, how })),
        each((link) => link.allow(direction, bytes))
      ),
    clearCut: Effect.sync(() => cuts.clear()),
    inject: (bytes) => each((link) => link.client.write(bytes))
  }
})

/**
 * Provides a proxy for as long as the layer lives.
 */
export const layer = (options: Options): Layer.Layer<FaultProxy> => Layer.effect(FaultProxy, make(options))

interface Faults {
  mode: Mode
  latency: number
  readonly paused: ReadonlySet<Direction>
  readonly cuts: ReadonlyMap<Direction, { readonly bytes: number; readonly how: CutHow }>
}

/** One connection of a client, with the connection to the broker that belongs to it. */
class Link {
  readonly client: Socket
  readonly closed: Promise<unknown>
  readonly #broker: Socket | undefined
  readonly #faults: Faults
  readonly #allowances = new Map<Direction, number>()
  readonly #delayed: Array<() => void> = []
  readonly #timers = new Set<NodeJS.Timeout>()
  #severed = false

  constructor(client: Socket, target: { readonly host: string; readonly port: number }, faults: Faults) {
    this.client = client
    this.#faults = faults
    client.setNoDelay(true)
    for (const [direction, { bytes }] of faults.cuts) {
      this.allow(direction, bytes)
    }
    if (faults.mode === "acceptSilent") {
      client.resume()
      this.closed = closeOf(client)
      return
    }
    const broker = connect({ ...target, allowHalfOpen: true, noDelay: true })
    this.#broker = broker
    this.closed = Promise.all([closeOf(client), closeOf(broker)])
    this.#relay("up", client, broker)
    this.#relay("down", broker, client)
    this.flow("up")
    this.flow("down")
  }

  /** Lets so many more bytes pass before the cut. */
  allow(direction: Direction, bytes: number): void {
    this.#allowances.set(direction, bytes)
  }

  /** Reads from the direction's source, unless the direction is paused. */
  flow(direction: Direction): void {
    const source = direction === "up" ? this.client : this.#broker
    if (this.#faults.paused.has(direction)) {
      source?.pause()
    } else {
      source?.resume()
    }
  }

  reset(): void {
    this.client.resetAndDestroy()
    this.#broker?.resetAndDestroy()
  }

  resetClient(): void {
    this.#severed = true
    this.client.resetAndDestroy()
  }

  fin(): void {
    this.client.end()
    this.#broker?.end()
  }

  destroy(): void {
    this.#timers.forEach(clearTimeout)
    this.client.destroy()
    this.#broker?.destroy()
  }

  #relay(direction: Direction, source: Socket, sink: Socket): void {
    source.on("error", () => {})
    source.on("data", (chunk) => this.#later(() => this.#pass(direction, chunk, source, sink)))
    source.on("end", () => this.#later(() => this.#unlessSevered(() => sink.end())))
    source.on("close", (broken) => {
      if (broken) {
        this.#later(() => this.#unlessSevered(() => sink.resetAndDestroy()))
      }
    })
  }

  #pass(direction: Direction, chunk: Buffer, source: Socket, sink: Socket): void {
    this.#unlessSevered(() => {
      const cut = this.#faults.cuts.get(direction)
      const allowance = this.#allowances.get(direction) ?? 0
      if (sink.destroyed) {
        source.resetAndDestroy()
      } else if (cut !== undefined && chunk.length >= allowance) {
        sink.write(chunk.subarray(0, allowance), () => this.#afterArrival(() => this.#cut(cut.how)))
        this.#severed = true
      } else {
        this.allow(direction, allowance - chunk.length)
        if (!sink.write(chunk) && sink.listenerCount("drain") === 0) {
          // Bytes that the other side does not take must not pile up here, or the sender would never feel
          // back-pressure.
          source.pause()
          sink.once("drain", () => this.flow(direction))
        }
      }
    })
  }

  #cut(how: CutHow): void {
    if (how === "fin") {
      this.fin()
    } else if (how === "rst") {
      this.reset()
    }
  }

  // A client that finds a reset right behind bytes it has not read yet takes it for an orderly end, if it is Node's, or
  // never sees the bytes.
  #afterArrival(act: () => void): void {
    this.#timers.add(setTimeout(act, 10))
  }

  #unlessSevered(act: () => void): void {
    if (!this.#severed && this.#faults.mode !== "blackhole") {
      act()
    }
  }

  // Every timer runs the oldest act, whichever it was set for, so that a change of latency cannot change the order.
  #later(act: () => void): void {
    if (this.#faults.latency === 0 && this.#delayed.length === 0) {
      return act()
    }
    this.#delayed.push(act)
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      this.#delayed.shift()?.()
    }, this.#faults.latency)
    this.#timers.add(timer)
  }
}

const closeOf = (socket: Socket): Promise<void> => new Promise((resolve) => socket.once("close", () => resolve()))

/**
 * How the broker behaves to clients that dial it by a certain host and port.
 */

/**
 * What an endpoint does with a client: `answers`; `refuses` the connection; is `silent`, so that not even the dial is
 * answered; is `mute`: it shakes hands, and answers nothing afterwards; or is `unreachable`, as for a machine that is cut
 * off from the network: nothing goes through in either direction, while both sides keep their sockets until they have
 * missed each other's heartbeats.
 *
 * @category models
 * @since 0.2.0
 */
export type EndpointBehaviour = "answers" | "refuses" | "silent" | "mute" | "unreachable"

/**
 * The endpoint that a client dials.
 *
 * @category models
 * @since 0.2.0
 */
export interface Endpoint {
  readonly host: string
  /** Defaults to every port. */
  readonly port?: number | undefined
}

export class Endpoints {
  readonly #behaviours = new Map<string, EndpointBehaviour>()

  set({ host, port }: Endpoint, behaviour: EndpointBehaviour): void {
    const key = `${host}:${port ?? "*"}`
    if (behaviour === "answers") this.#behaviours.delete(key)
    else this.#behaviours.set(key, behaviour)
  }

  clear(): void {
    this.#behaviours.clear()
  }

  get(host: string, port: number): EndpointBehaviour {
    if (this.#behaviours.size === 0) return "answers"
    return this.#behaviours.get(`${host}:${port}`) ?? this.#behaviours.get(`${host}:*`) ?? "answers"
  }
}

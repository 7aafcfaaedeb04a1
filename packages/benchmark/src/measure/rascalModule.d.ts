/** The types of rascal that the benchmark uses: rascal has none of its own. */
declare module "rascal" {
  import type { EventEmitter } from "node:events"

  interface Subscription {
    on(event: "error", listener: (error: unknown) => void): this
    on(event: "message", listener: (message: unknown, content: unknown, ackOrNack: () => void) => void): this
    cancel(): Promise<void>
  }

  class BrokerAsPromised {
    static create(config: object): Promise<BrokerAsPromised>
    on(event: "error", listener: (error: unknown) => void): this
    publish(name: string, body: Buffer): Promise<EventEmitter>
    subscribe(name: string): Promise<Subscription>
    shutdown(): Promise<void>
  }

  const rascal: { readonly BrokerAsPromised: typeof BrokerAsPromised }
  export default rascal
}

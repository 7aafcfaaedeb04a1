/** As much of rascal as the benchmark uses; it brings no types. */
declare module "rascal" {
  import type { EventEmitter } from "node:events"

  class BrokerAsPromised {
    static create(config: object): Promise<BrokerAsPromised>
    on(event: "error", listener: (error: unknown) => void): this
    publish(name: string, body: Buffer): Promise<EventEmitter>
    shutdown(): Promise<void>
  }

  const rascal: { readonly BrokerAsPromised: typeof BrokerAsPromised }
  export default rascal
}

/** The types of rascal that the benchmark uses: rascal has none of its own. */
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

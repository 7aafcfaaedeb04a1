/**
 * The values that `vitestSetup.ts` hands to the test files.
 */
import type * as ErlangShell from "./ErlangShell.ts"

declare module "vitest" {
  /**
   * Values that test files can `inject`.
   */
  export interface ProvidedContext {
    readonly rabbitMq: BrokersOfTestRun
  }
}

/**
 * The brokers of a test run.
 */
export interface BrokersOfTestRun {
  /** The reason why no node can start here. Absent when nodes can start. */
  readonly ownNodeRefusal: string | undefined
  /** The reason why there is no shared broker. Absent when there is one. */
  readonly sharedBrokerRefusal: string | undefined
  /** The loopback port of the shared broker's keeper, which answers a connection with a `SharedBroker`. */
  readonly sharedBrokerPort: number
}

/**
 * The keeper's answer, as JSON: the broker that it has started, or the reason why it could not.
 */
export type SharedBroker =
  | { readonly url: string; readonly address?: ErlangShell.Address | undefined }
  | { readonly failure: string }

/**
 * What the set-up of a vitest run, `vitestSetup.ts`, hands to the test files.
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
 * Which brokers the test files can have.
 */
export interface BrokersOfTestRun {
  /** Why no node can be started here; absent when it can. */
  readonly ownNodeRefusal: string | undefined
  /** Why there is no shared broker; absent when there is one. */
  readonly sharedBrokerRefusal: string | undefined
  /** The loopback port where the shared broker is to be asked for: a connection to it is answered with a `SharedBroker`. */
  readonly sharedBrokerPort: number
}

/**
 * The set-up's answer, as JSON: the broker that it has started, or why it could not.
 */
export type SharedBroker =
  | { readonly url: string; readonly address?: ErlangShell.Address | undefined }
  | { readonly failure: string }

/**
 * @since 0.1.0
 */
export * as AmqpRpc from "./AmqpRpc.ts"
/**
 * @since 0.1.0
 */
export * as CallError from "./CallError.ts"

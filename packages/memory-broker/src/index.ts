/**
 * @since 0.1.0
 */
export * as AmqpMemory from "./AmqpMemory.ts"
/**
 * @since 0.1.0
 */
export * as FaultPlan from "./FaultPlan.ts"

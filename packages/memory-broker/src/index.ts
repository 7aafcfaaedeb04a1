export * as AmqpMemory from "./AmqpMemory.ts"
export * as FaultPlan from "./FaultPlan.ts"

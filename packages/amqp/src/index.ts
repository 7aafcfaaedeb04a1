/**
 * effect-amqp: RabbitMQ for Effect. One namespace per concept.
 */
export * as AmqpChannel from "./AmqpChannel.ts"
export * as AmqpConnection from "./AmqpConnection.ts"
export * as AmqpConsumer from "./AmqpConsumer.ts"
export * as AmqpContract from "./AmqpContract.ts"
export * as AmqpDelivery from "./AmqpDelivery.ts"
export * as AmqpDriver from "./AmqpDriver.ts"
export * as AmqpError from "./AmqpError.ts"
export * as AmqplibDriver from "./AmqplibDriver.ts"
export * as AmqpMessage from "./AmqpMessage.ts"
export * as AmqpPublisher from "./AmqpPublisher.ts"
export * as AmqpRedrive from "./AmqpRedrive.ts"
export * as AmqpTopology from "./AmqpTopology.ts"
export * as AsyncApi from "./AsyncApi.ts"
export * as Codec from "./Codec.ts"
export * as CurrentDriver from "./CurrentDriver.ts"
export * as PublishError from "./PublishError.ts"

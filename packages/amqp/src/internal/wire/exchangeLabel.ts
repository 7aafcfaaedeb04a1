/** Names an exchange as RabbitMQ does in its texts, where the default exchange, `""`, is `amq.default`. */
export const exchangeLabel = (exchange: string): string => exchange === "" ? "amq.default" : exchange

import type { Contender } from "./Publisher.ts"

/** The contenders by name. A trial loads only its own, so that no process pays for another's code. */
export const contenders = {
  "raw socket": () => import("./rawSocket.ts").then((module) => module.contender),
  "amqplib, callbacks": () => import("./amqplibCallbacks.ts").then((module) => module.contender),
  "amqplib, promises": () => import("./amqplibPromises.ts").then((module) => module.contender),
  "rabbitmq-client": () => import("./rabbitmqClient.ts").then((module) => module.contender),
  "@cloudamqp/amqp-client": () => import("./amqpClientJs.ts").then((module) => module.contender),
  "amqp-connection-manager": () => import("./amqpConnectionManager.ts").then((module) => module.contender),
  rascal: () => import("./rascal.ts").then((module) => module.contender),
  "Effect.callback": () => import("./effectOverAmqplib.ts").then((module) => module.effectOverAmqplib(false)),
  "Effect.callback, timeout": () => import("./effectOverAmqplib.ts").then((module) => module.effectOverAmqplib(true)),
  "effect-amqp publish": () => import("./effectAmqp.ts").then((module) => module.effectAmqp("publish")),
  "effect-amqp publishAll": () => import("./effectAmqp.ts").then((module) => module.effectAmqp("publishAll")),
  "effect-amqp sink": () => import("./effectAmqp.ts").then((module) => module.effectAmqp("sink"))
} satisfies { readonly [name: string]: () => Promise<Contender> }

/** The name of a contender. */
export type ContenderName = keyof typeof contenders

/** The contender that all ratios are to. */
export const baseline: ContenderName = "amqplib, callbacks"

/** The contender with the lowest cost that a client can have. */
export const floor: ContenderName = "raw socket"

/** What a user of Effect pays anyway; peak memory is compared with that. */
export const smallestEffect: ContenderName = "Effect.callback"

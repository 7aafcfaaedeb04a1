import type { Contender } from "./Consumer.ts"

/** The contenders by name. A trial loads only its own. */
export const contenders = {
  "raw socket": () => import("./rawSocket.ts").then((module) => module.contender),
  amqplib: () => import("./amqplib.ts").then((module) => module.contender),
  "rabbitmq-client": () => import("./rabbitmqClient.ts").then((module) => module.contender),
  "@cloudamqp/amqp-client": () => import("./amqpClientJs.ts").then((module) => module.contender),
  "amqp-connection-manager": () => import("./amqpConnectionManager.ts").then((module) => module.contender),
  rascal: () => import("./rascal.ts").then((module) => module.contender),
  "Effect.runFork": () => import("./effectOverAmqplib.ts").then((module) => module.contender),
  "effect-amqp": () => import("./effectAmqp.ts").then((module) => module.effectAmqp("handler")),
  "effect-amqp stream": () => import("./effectAmqp.ts").then((module) => module.effectAmqp("stream"))
} satisfies { readonly [name: string]: () => Promise<Contender> }

/** The name of a contender. */
export type ContenderName = keyof typeof contenders

/** The contender that all ratios are to. */
export const baseline: ContenderName = "amqplib"

/** As little as a client of any kind can cost. */
export const floor: ContenderName = "raw socket"

/** What a user of Effect pays anyway; peak memory is compared with that. */
export const smallestEffect: ContenderName = "Effect.runFork"

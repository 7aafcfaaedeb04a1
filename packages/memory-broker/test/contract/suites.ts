import { acknowledging } from "./acknowledging.ts"
import { ackTimeouts } from "./ackTimeouts.ts"
import { connections } from "./connections.ts"
import { consuming } from "./consuming.ts"
import { deadLettering } from "./deadLettering.ts"
import { hangUps } from "./hangUps.ts"
import { limits } from "./limits.ts"
import { publishing } from "./publishing.ts"
import { queues } from "./queues.ts"
import { quorumQueues } from "./quorumQueues.ts"
import { refusals } from "./refusals.ts"
import { replies } from "./replyTo.ts"
import { restarting } from "./restarting.ts"
import { routing } from "./routing.ts"
import { singleActive } from "./singleActive.ts"
import { streams } from "./streams.ts"
import type { Suite } from "./Suite.ts"

/** The whole contract. */
export const suites: ReadonlyArray<Suite> = [
  routing,
  queues,
  acknowledging,
  consuming,
  limits,
  deadLettering,
  quorumQueues,
  ackTimeouts,
  singleActive,
  streams,
  publishing,
  connections,
  replies,
  refusals,
  hangUps,
  restarting
]

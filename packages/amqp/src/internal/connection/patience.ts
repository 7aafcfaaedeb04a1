/**
 * The two rules of patience: how long a refusal may take to heal, and how long something must have lived to count.
 */
import * as Duration from "effect/Duration"

// A lock of a connection that was lost heals when the broker notices the loss: that takes two heartbeats.
const healingHeartbeats = 3

/** How long a refusal that may heal is tried again while somebody waits for it to be over. */
export const healingMillis = (heartbeat: Duration.Duration): number => Duration.toMillis(heartbeat) * healingHeartbeats

/** What lived for less has not proven that it works: a session ends no outage, and a channel is opened after a pause. */
export const steadyMillis = 1000

/** The verdict of the soaks as text. */
import { render } from "../report/Table.ts"
import type { Scenario } from "./scenarios.ts"
import type { Outcome } from "./Soak.ts"

/** A scenario with its result. */
export interface Judged {
  readonly scenario: Pick<Scenario, "name" | "mustLose">
  readonly outcome: Outcome
}

/** True when a scenario showed what it has to show. */
export const passed = ({ outcome, scenario }: Judged): boolean =>
  scenario.mustLose
    ? outcome.lost > 0 && outcome.unexpected === 0 && outcome.notSettledOnce === 0
    : outcome.sound && outcome.confirmed > 0

const header = [
  "soak",
  "seconds",
  "sent",
  "confirmed",
  "failed",
  "republished",
  "duplicates",
  "lost",
  "unexpected",
  "not settled once",
  "verdict"
]

const count = (value: number): string => value.toLocaleString("en-US")

/** The table. */
export const table = (judged: ReadonlyArray<Judged>): string =>
  render(
    header,
    judged.map((one) => {
      const { outcome, scenario } = one
      const failures = Object.entries(outcome.failed)
      return [
        scenario.name,
        outcome.seconds.toFixed(0),
        count(outcome.sent),
        count(outcome.confirmed),
        failures.length === 0 ? "0" : failures.map(([reason, times]) => `${count(times)} ${reason}`).join(", "),
        count(outcome.republished),
        count(outcome.duplicates),
        count(outcome.lost),
        count(outcome.unexpected),
        count(outcome.notSettledOnce),
        scenario.mustLose
          ? passed(one) ? "red, as it must be" : "NOT RED: the check is blind"
          : passed(one)
          ? "sound"
          : "UNSOUND"
      ]
    }),
    1
  )

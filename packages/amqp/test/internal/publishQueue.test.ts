import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Context, Effect } from "effect"
import type { DriverChannel } from "../../src/AmqpDriver.ts"
import { AmqpError, ConnectionLost } from "../../src/AmqpError.ts"
import type { Session } from "../../src/internal/connection/session.ts"
import { Trial } from "../../src/internal/connection/trial.ts"
import type { Entry } from "../../src/internal/publisher/entry.ts"
import * as Entries from "../../src/internal/publisher/entry.ts"
import { PublisherMetrics } from "../../src/internal/publisher/metrics.ts"
import { RefusedKinds } from "../../src/internal/publisher/quarantine.ts"
import { PublishQueue } from "../../src/internal/publisher/queue.ts"
import { Roster } from "../../src/internal/publisher/roster.ts"
import type { Encoded } from "../../src/internal/wire/encodeMessage.ts"
import { between } from "../support/Between.ts"

const nothing = () => {}

const lost = new AmqpError({
  operation: "connection",
  reason: new ConnectionLost({ replyCode: undefined, replyText: "cut" })
})

/** A queue, what it wrote to its present channel, and what it told of each message. */
const make = (maxInFlight: number) => {
  const written: Array<string> = []
  const settled: Array<string> = []
  const told = { isBusy: false }
  const metrics = new PublisherMetrics(Context.empty(), nothing, "publish", () => queue.counts())
  const roster = new Roster(metrics, {
    now: () => 0,
    onBusy() {
      told.isBusy = true
    },
    onIdle() {
      told.isBusy = false
    }
  })
  const queue: PublishQueue = new PublishQueue(
    { maxInFlight, maxInFlightBytes: Infinity, maxWaiting: 10, whenFull: "wait", unconfirmed: "republish" },
    roster,
    new RefusedKinds(),
    { _tag: "Main", divert: nothing },
    { onResting: nothing, onHeldBack: nothing, onTurn: nothing },
    () => 0
  )
  const channel = {
    isWritable: () => true,
    publishUnsafe: ({ properties }: Encoded) => written.push(properties.messageId!)
  } as unknown as DriverChannel
  return {
    queue,
    roster,
    written,
    settled,
    told,
    attach() {
      written.length = 0
      queue.attach({
        channel,
        session: { blocked: undefined, trial: new Trial(), asking: 0 } as Session,
        onDraining: nothing,
        onDrained: nothing
      })
    },
    submit(messageId: string): Entry {
      const encoded = {
        exchange: "orders",
        routingKey: "paid",
        mandatory: true,
        properties: { messageId } as Encoded["properties"],
        body: new Uint8Array(0),
        headerBytes: 0
      }
      const entry = Entries.make(encoded, { settled: () => settled.push(messageId) }, queue, 0)
      roster.add(entry)
      queue.submit(entry)
      return entry
    },
    abandon(entry: Entry) {
      queue.release(entry)
      roster.remove(entry)
      queue.pump()
    }
  }
}

const idOf = (entry: Entry | undefined): string | undefined => entry?.encoded.properties.messageId

describe("the queue of a publisher", () => {
  it("a confirm that comes very late finds its message, and one that comes with many others too", () => {
    const { abandon, attach, queue, settled, submit } = make(1000)
    attach()
    const [first, second] = [submit("first"), submit("second")]
    abandon(first)
    abandon(second)
    for (let tag = 3; tag <= 1000; tag++) {
      submit(`m${tag}`)
      queue.confirm(tag, false, true)
    }
    assert.strictEqual(settled.length, 998)
    assert.strictEqual(queue.counts().inFlight, 2)
    queue.confirm(2, false, true)
    assert.strictEqual(queue.counts().inFlight, 1)
    queue.confirm(1000, true, true)
    assert.strictEqual(queue.counts().inFlight, 0)
  })

  it.effect.prop(
    "settles the message of each tag that is confirmed, knows who waits longest, and republishes what was lost in order",
    { script: Arbitrary.array(between(0, 999_999), { minLength: 1, maxLength: 60 }), maxInFlight: between(1, 300) },
    ({ maxInFlight, script }) =>
      Effect.sync(() => {
        const { abandon, attach, queue, roster, settled, submit, told, written } = make(maxInFlight)
        attach()
        /** Those whose owners wait, in the order of submission. */
        const open = new Map<string, Entry>()
        /** What the broker has not answered for on the present channel, by tag. */
        let unanswered = new Map<number, string>()
        let seen = 0
        const confirmed: Array<string> = []
        const look = () => {
          for (; seen < written.length; seen++) unanswered.set(seen + 1, written[seen]!)
          assert.isAtMost(unanswered.size, maxInFlight)
          assert.strictEqual(idOf(roster.oldest), open.keys().next().value, "the message that waits longest")
          assert.strictEqual(roster.isIdle, open.size === 0)
          assert.strictEqual(told.isBusy, open.size > 0, "what its owner was told")
          assert.strictEqual(queue.counts().inFlight, unanswered.size)
          assert.deepStrictEqual(settled, confirmed)
        }
        let sequence = 0
        for (const draw of script) {
          const pick = Math.floor(draw / 10)
          switch (draw % 10) {
            case 0:
            case 1:
            case 2:
            case 3: {
              for (let count = 0; count <= pick % 150; count++) {
                const id = `m${sequence++}`
                open.set(id, submit(id))
                look()
              }
              break
            }
            case 4:
            case 5:
            case 6: {
              const tag = [...unanswered.keys()][pick % Math.max(1, unanswered.size)] ?? 1
              const id = unanswered.get(tag)
              unanswered.delete(tag)
              if (id !== undefined && open.delete(id)) confirmed.push(id)
              queue.confirm(tag, false, true)
              break
            }
            case 7: {
              const upTo = pick % (written.length + 1)
              for (const [tag, id] of unanswered) {
                if (tag > upTo) continue
                unanswered.delete(tag)
                if (open.delete(id)) confirmed.push(id)
              }
              queue.confirm(upTo, true, true)
              break
            }
            case 8: {
              const [id, entry] = [...open][pick % Math.max(1, open.size)] ?? []
              if (entry === undefined) break
              open.delete(id!)
              abandon(entry)
              break
            }
            case 9: {
              const again = [...unanswered.values()].filter((id) => open.has(id))
              const waiting = [...open.keys()].filter((id) => !again.includes(id))
              unanswered = new Map()
              seen = 0
              queue.detach(lost)
              attach()
              assert.deepStrictEqual(written, [...again, ...waiting].slice(0, maxInFlight))
              break
            }
          }
          look()
        }
      })
  )
})

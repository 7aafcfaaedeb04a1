import { assert, describe, it } from "@effect/vitest"
import { deadlineHeader, deadlineOf } from "../src/internal/envelope.ts"

describe("the deadline of a request", () => {
  it("is its header", () => {
    assert.strictEqual(
      deadlineOf({ properties: { headers: { [deadlineHeader]: 1_764_119_000_000 } } }),
      1_764_119_000_000
    )
  })

  it("is not there with headers of another type, with none, and with headers that cannot be read", () => {
    assert.isUndefined(deadlineOf({ properties: { headers: { [deadlineHeader]: "soon" } } }))
    assert.isUndefined(deadlineOf({ properties: {} }))
    const unreadable = {
      get headers(): never {
        throw new Error("a header table that cannot be decoded")
      }
    }
    assert.isUndefined(deadlineOf({ properties: unreadable }))
  })
})

/** Something that a peer sent and that AMQP 0-9-1 does not allow: the connection cannot go on. */
export class WireError extends Error {
  override readonly name = "WireError"

  constructor(seen: string) {
    super(`the peer sent ${seen}`)
  }
}

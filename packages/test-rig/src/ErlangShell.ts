/**
 * Evaluates Erlang on a running node. This is how the rig looks into a broker and pulls its levers: 3 to 9
 * milliseconds, where the broker's own command line tool takes half a second.
 */
import * as Effect from "effect/Effect"
import * as Patience from "./Patience.ts"
import { RabbitMqError } from "./RabbitMqError.ts"
import * as Subprocess from "./Subprocess.ts"

/**
 * The way to a node's Erlang: a program that reads Erlang from its standard input. Plain data, which can be sent to
 * another process.
 */
export interface Address {
  readonly command: Subprocess.Command
  readonly environment: Readonly<Record<string, string>> | undefined
}

/**
 * Evaluates expressions, separated by commas and without the final full stop, and gives the last one's value as Erlang
 * prints it. An exception on the node is a failure here.
 */
export const evaluate = Effect.fnUntraced(function*(
  address: Address,
  expressions: string
): Effect.fn.Return<string, RabbitMqError> {
  const printed = yield* Subprocess.run(address.command, {
    environment: address.environment,
    input: toAscii(enclose(expressions)),
    timeout: Patience.limit
  }).pipe(
    Effect.mapError((error) => new RabbitMqError({ message: `The node did not evaluate Erlang: ${error.message}` }))
  )
  const encoded = /^(?:\{ok, )?"([A-Za-z0-9+/=]+)"\}?\s*$/.exec(printed)?.[1]
  if (encoded === undefined) {
    return yield* new RabbitMqError({ message: `The node could not evaluate the Erlang it was given: ${printed}` })
  }
  const answer = Buffer.from(encoded, "base64").toString()
  return answer.startsWith("+")
    ? answer.slice(1)
    : yield* new RabbitMqError({ message: `Erlang raised an exception on the node: ${answer.slice(1)}` })
})

/**
 * Writes a text as an Erlang binary, whatever characters it has.
 */
export const binary = (text: string): string => `<<${[...Buffer.from(text)].join(",")}>>`

// The output of erl_call cannot be parsed: quotes are not escaped, and lists of small numbers turn into text. So the
// value travels as base64 of the node's own print. The variables have odd names, which a caller's expressions will not
// use.
const enclose = (expressions: string): string =>
  `{RigMark__, RigValue__} = try begin ${expressions}
  end of RigResult__ -> {"+", RigResult__} catch RigClass__:RigReason__ -> {"-", {RigClass__, RigReason__}} end,
  base64:encode_to_string(unicode:characters_to_binary([RigMark__, io_lib:format("~0tp", [RigValue__])])).
`

// The node reads every input as Latin 1.
const toAscii = (text: string): string =>
  text.replaceAll(/[^\p{ASCII}]/gu, (character) => `\\x{${character.codePointAt(0)?.toString(16)}}`)

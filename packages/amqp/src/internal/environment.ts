/** The options of a connection as the environment gives them; `AmqpConnection.layerConfig` documents the variables. */
import * as Config from "effect/Config"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { Options } from "../AmqpConnection.ts"

const optional = <A>(config: Config.Config<A>): Config.Config<A | undefined> =>
  Config.map(Config.option(config), Option.getOrUndefined)

/** Reads the variables that begin with `AMQP_`. */
export const config: Config.Config<Options> = Config.nested(
  Config.all({
    endpoints: Config.flatMap(Config.option(Config.Redacted("URL")), (url) =>
      Option.isSome(url)
        ? Config.succeed<Options["endpoints"]>(
          Redacted.value(url.value).split(",").map((one) => Redacted.make(one.trim()))
        )
        : Config.map(
          Config.all({
            host: Config.withDefault(Config.NonEmptyString("HOST"), "localhost"),
            port: Config.map(Config.option(Config.Port("PORT")), Option.getOrUndefined),
            tls: Config.withDefault(Config.Boolean("TLS"), false)
          }),
          (parts): Options["endpoints"] => parts
        )),
    username: optional(Config.String("USERNAME")),
    password: optional(Config.Redacted("PASSWORD")),
    vhost: optional(Config.String("VHOST")),
    heartbeat: optional(Config.Duration("HEARTBEAT")),
    retry: Config.all({
      interval: optional(Config.Duration("RETRY_INTERVAL")),
      max: optional(Config.Int("RETRY_MAX"))
    })
  }),
  "AMQP"
)

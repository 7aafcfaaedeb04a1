/**
 * A RabbitMQ node as processes of this machine, isolated from any other RabbitMQ by a directory, a port mapper, a
 * cookie and ports of its own.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { ChildProcess } from "node:child_process"
import { spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { closeSync, openSync } from "node:fs"
import { chmod, cp, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises"
import { join } from "node:path"
import type { BrokerNode } from "./BrokerNode.ts"
import * as FreePort from "./FreePort.ts"
import * as Keeper from "./Keeper.ts"
import * as NodeConfiguration from "./NodeConfiguration.ts"
import * as Patience from "./Patience.ts"
import * as Probe from "./Probe.ts"
import { RabbitMqError } from "./RabbitMqError.ts"
import * as RabbitMqInstallation from "./RabbitMqInstallation.ts"
import type * as Subprocess from "./Subprocess.ts"

/**
 * The parts of a node.
 */
export interface Options {
  readonly installation: RabbitMqInstallation.RabbitMqInstallation
  readonly configuration: NodeConfiguration.NodeConfiguration
  /** The node's place in a cluster. Defaults to none. */
  readonly membership?: Membership | undefined
}

/**
 * A node's place in a cluster: its own name, and the common part of all members.
 */
export interface Membership {
  readonly name: string
  readonly cookie: string
  readonly portMapperPort: number
}

/**
 * Starts a node that vanishes with the scope. Chooses other ports when another process has taken them.
 */
export const make = (options: Options): Effect.Effect<BrokerNode, RabbitMqError, Scope.Scope> =>
  Effect.retry(launch(options), {
    times: 3,
    while: (error) => error instanceof PortTaken
  }).pipe(
    Effect.catchTag("PortTaken", (error) => Effect.fail(new RabbitMqError({ message: error.message })))
  )

/**
 * Makes a name that no other node on this machine has.
 */
export const uniqueName: Effect.Effect<string> = Effect.sync(() => `rig-${randomBytes(4).toString("hex")}@localhost`)

/**
 * The secret by which nodes recognise each other.
 */
export const uniqueCookie: Effect.Effect<string> = Effect.sync(() => randomBytes(16).toString("hex"))

/**
 * Starts the port mapper by which nodes find each other; it vanishes with the scope.
 */
export const makePortMapper = Effect.fnUntraced(function*(
  installation: RabbitMqInstallation.RabbitMqInstallation
): Effect.fn.Return<number, RabbitMqError, Scope.Scope> {
  const keeper = yield* Keeper.make
  const port = yield* FreePort.find
  // A node that finds no port mapper starts one that belongs to nobody. So the rig starts the port mapper, in the
  // foreground, and waits until it answers.
  const process = startProcess(
    RabbitMqInstallation.command(installation, installation.epmd, ["-port", `${port}`, "-address", "127.0.0.1"]),
    RabbitMqInstallation.environment(installation),
    join(keeper.directory, "output"),
    keeper
  )
  yield* whileRunning(process, "Erlang's port mapper", Probe.listens("127.0.0.1", port))
  return port
})

class PortTaken extends Data.TaggedError("PortTaken")<{ readonly message: string }> {}

const launch = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<BrokerNode, RabbitMqError | PortTaken, Scope.Scope> {
  const scope = yield* Scope.fork(yield* Effect.scope)
  return yield* prepare(options).pipe(
    Effect.tap((node) => node.start),
    Effect.mapError((error) => /eaddrinuse|in use/i.test(error.message) ? new PortTaken(error) : error),
    Scope.provide(scope),
    Effect.onError(() => Scope.close(scope, Exit.void))
  )
})

const prepare = Effect.fnUntraced(function*(
  { configuration, installation, membership }: Options
): Effect.fn.Return<BrokerNode, RabbitMqError, Scope.Scope> {
  const portMapperPort = membership?.portMapperPort ?? (yield* makePortMapper(installation))
  const keeper = yield* Keeper.make
  const port = yield* FreePort.find
  const tlsPort = configuration.tls === undefined ? undefined : yield* FreePort.find
  const distributionPort = yield* FreePort.find
  const name = membership?.name ?? (yield* uniqueName)
  const cookie = membership?.cookie ?? (yield* uniqueCookie)
  const files = yield* Effect.tryPromise({
    try: async () => ({
      ...await prepareDirectory(keeper.directory, installation, cookie, configuration.plugins ?? []),
      configuration: await NodeConfiguration.write(
        keeper.directory,
        configuration,
        tlsPort === undefined ? undefined : `127.0.0.1:${tlsPort}`
      )
    }),
    catch: (cause) => new RabbitMqError({ message: "The node's directory could not be prepared", cause })
  })

  const environment = {
    ...RabbitMqInstallation.environment(installation),
    HOME: files.home,
    ERL_EPMD_PORT: `${portMapperPort}`,
    ERL_EPMD_ADDRESS: "127.0.0.1",
    RABBITMQ_NODENAME: name,
    RABBITMQ_CONF_ENV_FILE: files.environment,
    RABBITMQ_CONFIG_FILE: files.configuration.basic,
    RABBITMQ_ADVANCED_CONFIG_FILE: files.configuration.advanced,
    RABBITMQ_MNESIA_BASE: join(keeper.directory, "data"),
    RABBITMQ_LOG_BASE: join(keeper.directory, "log"),
    RABBITMQ_ENABLED_PLUGINS_FILE: files.configuration.plugins,
    RABBITMQ_GENERATED_CONFIG_DIR: join(keeper.directory, "generated"),
    RABBITMQ_PID_FILE: join(keeper.directory, "pid"),
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_NODE_PORT: `${port}`,
    RABBITMQ_DIST_PORT: `${distributionPort}`,
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
    // Makes the start script become the node instead of its parent, so that signals reach the node itself.
    detached: "true"
  }

  let running: RunningProcess | undefined

  const send = (signal: NodeJS.Signals): Effect.Effect<RunningProcess, RabbitMqError> =>
    Effect.suspend(() => {
      if (running === undefined) {
        return Effect.fail(new RabbitMqError({ message: `The node is not running, so it cannot be sent ${signal}` }))
      }
      running.child.kill(signal)
      return Effect.succeed(running)
    })

  const end = (signal: NodeJS.Signals): Effect.Effect<void, RabbitMqError> =>
    send(signal).pipe(
      Effect.flatMap((process) => Effect.promise(() => process.ended)),
      Effect.timeoutOrElse({
        duration: Patience.limit,
        orElse: () => Effect.fail(new RabbitMqError({ message: `The node did not end on ${signal}` }))
      })
    )

  const kill = end("SIGKILL")

  const boot = Effect.suspend(() => {
    if (running !== undefined) {
      return Effect.fail(new RabbitMqError({ message: "The node is already running" }))
    }
    const started = startProcess(
      RabbitMqInstallation.command(installation, join(files.rabbitmq, "sbin", "rabbitmq-server"), []),
      environment,
      join(keeper.directory, "output"),
      keeper
    )
    running = started
    started.ended.then(() => {
      running = undefined
    })
    return whileRunning(started, "The node", Probe.speaksAmqp("127.0.0.1", port)).pipe(
      // RabbitMQ opens the listener for TLS after the other.
      Effect.andThen(
        tlsPort === undefined
          ? Effect.void
          : whileRunning(started, "The node, by TLS,", Probe.listens("127.0.0.1", tlsPort))
      ),
      Effect.catch((error) =>
        Effect.ignore(kill).pipe(
          Effect.andThen(Effect.promise(() => lastWords(keeper.directory, name))),
          Effect.flatMap((words) => Effect.fail(new RabbitMqError({ message: `${error.message}\n${words}` })))
        )
      )
    )
  })

  return {
    port,
    tlsPort,
    address: {
      command: RabbitMqInstallation.command(installation, installation.erlCall, [
        "-r",
        "-timeout",
        `${Duration.toSeconds(Patience.limit)}`,
        "-c",
        cookie,
        "-address",
        `127.0.0.1:${distributionPort}`,
        "-e"
      ]),
      environment: { ...RabbitMqInstallation.environment(installation), HOME: files.home }
    },
    start: boot,
    stop: end("SIGTERM"),
    kill,
    freeze: Effect.asVoid(send("SIGSTOP")),
    thaw: Effect.asVoid(send("SIGCONT"))
  }
})

interface RunningProcess {
  readonly child: ChildProcess
  readonly ended: Promise<void>
}

const prepareDirectory = async (
  directory: string,
  installation: RabbitMqInstallation.RabbitMqInstallation,
  cookie: string,
  plugins: ReadonlyArray<string>
) => {
  const files = {
    home: join(directory, "home"),
    rabbitmq: join(directory, "rabbitmq"),
    environment: join(directory, "rabbitmq-env.conf")
  }
  await mkdir(files.home)
  const cookieFile = join(files.home, ".erlang.cookie")
  await writeFile(cookieFile, cookie)
  await chmod(cookieFile, 0o400)
  await writeFile(files.environment, "")
  await shadow(installation, files.rabbitmq, plugins)
  return files
}

// Half of a node's boot is spent searching the code paths of plugins that it does not use. A tree that links only to
// what the application `rabbit` and the enabled plugins need boots twice as fast.
const shadow = async (
  installation: RabbitMqInstallation.RabbitMqInstallation,
  directory: string,
  enabled: ReadonlyArray<string>
): Promise<void> => {
  const seenFromHere = join(installation.root, installation.home)
  await mkdir(join(directory, "plugins"), { recursive: true })
  await cp(join(seenFromHere, "sbin"), join(directory, "sbin"), { recursive: true, dereference: true })
  await symlink(join(installation.home, "escript"), join(directory, "escript"))
  for (const plugin of await neededPlugins(join(seenFromHere, "plugins"), enabled)) {
    await symlink(join(installation.home, "plugins", plugin), join(directory, "plugins", plugin))
  }
}

const neededPlugins = async (
  directory: string,
  enabled: ReadonlyArray<string>
): Promise<ReadonlyArray<string>> => {
  const plugins = new Map<string, { readonly directory: string; readonly needs: ReadonlyArray<string> }>()
  const names = await readdir(directory)
  for (const name of names) {
    const contents = await readdir(join(directory, name, "ebin")).catch(() => [])
    const descriptor = contents.find((file) => file.endsWith(".app"))
    if (descriptor !== undefined) {
      const text = await readFile(join(directory, name, "ebin", descriptor), "utf8")
      plugins.set(descriptor.slice(0, -".app".length), {
        directory: name,
        needs: [...text.matchAll(/\{(?:included_|optional_)?applications,\s*\[([^\]]*)\]/g)]
          .flatMap((match) => (match[1] ?? "").split(","))
          .map((application) => application.trim().replaceAll("'", ""))
      })
    }
  }
  const needed = new Set<string>()
  const pending = ["rabbit", ...enabled]
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    const plugin = plugins.get(name)
    if (plugin !== undefined && !needed.has(plugin.directory)) {
      needed.add(plugin.directory)
      pending.push(...plugin.needs)
    }
  }
  return needed.size > 0 ? [...needed] : names
}

const startProcess = (
  command: Subprocess.Command,
  environment: Record<string, string>,
  outputFile: string,
  keeper: Keeper.Keeper
): RunningProcess => {
  const output = openSync(outputFile, "a")
  const child = spawn(command.program, command.args, {
    env: environment,
    // A session of its own: an interrupt at the terminal is for the tests, which then end the node in their own way.
    detached: true,
    stdio: ["ignore", output, output]
  })
  closeSync(output)
  child.unref()
  return { child, ended: keeper.watch(child) }
}

const whileRunning = (
  process: RunningProcess,
  subject: string,
  probe: Effect.Effect<boolean>
): Effect.Effect<void, RabbitMqError> =>
  Effect.raceFirst(
    probe.pipe(
      Effect.repeat({ schedule: Schedule.spaced("20 millis"), until: (answered) => answered }),
      Effect.timeoutOrElse({
        duration: Patience.limit,
        orElse: () =>
          Effect.fail(
            new RabbitMqError({ message: `${subject} did not answer within ${Duration.format(Patience.limit)}` })
          )
      })
    ),
    Effect.promise(() => process.ended).pipe(
      Effect.andThen(Effect.fail(new RabbitMqError({ message: `${subject} ended while it was starting` })))
    )
  )

const lastWords = async (directory: string, name: string): Promise<string> => {
  const texts = await Promise.all(
    [join(directory, "output"), join(directory, "log", `${name}.log`)].map((file) =>
      readFile(file, "utf8").catch(() => "")
    )
  )
  return texts.map((text) => text.trim().split("\n").slice(-40).join("\n")).join("\n")
}

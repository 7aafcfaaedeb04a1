/**
 * Finds the programs of RabbitMQ and Erlang: installed on this machine, or unpacked into a cache from Debian's
 * packages.
 */
import * as Effect from "effect/Effect"
import { existsSync } from "node:fs"
import { access, readdir, readFile, realpath } from "node:fs/promises"
import { arch, homedir, platform, tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { RabbitMqUnavailable } from "./RabbitMqError.ts"
import * as Subprocess from "./Subprocess.ts"

/**
 * A RabbitMQ with the Erlang that runs it.
 */
export interface RabbitMqInstallation {
  /** The origin of the installation, for people to read. */
  readonly description: string
  /** RabbitMQ's version, such as `3.10.8`. */
  readonly version: string
  /** The directory of another Debian release, the root of all other paths. Empty for this machine itself. */
  readonly root: string
  /** RabbitMQ's own directory, the one with `sbin` and `plugins`. */
  readonly home: string
  /** The directory that holds `erl`. */
  readonly erlang: string
  /** Erlang's port mapper, which every node needs. */
  readonly epmd: string
  /** The program that evaluates Erlang on a running node. */
  readonly erlCall: string
}

/**
 * The Debian releases that carry the other versions. `sid` moves on, so its version is no promise.
 */
export const debianReleases: ReadonlyMap<string, string> = new Map([
  ["4.0", "trixie"],
  ["4.3", "sid"]
])

/**
 * Finds an installation of the given version, or of any version: first on the machine, then in Debian's packages, which
 * are fetched when the cache does not have them.
 */
export const find = Effect.fnUntraced(function*(
  version: string | undefined
): Effect.fn.Return<RabbitMqInstallation, RabbitMqUnavailable> {
  const refusals: Array<string> = []
  const origins = [
    installedHere(version),
    packagesOfThisRelease(version),
    ...(version === undefined ? [] : [anotherRelease(version)])
  ]
  for (const origin of origins) {
    const found = yield* origin.pipe(
      Effect.catch((refusal) => Effect.sync(() => void refusals.push(refusal.message)))
    )
    if (found !== undefined) {
      return found
    }
  }
  return yield* new RabbitMqUnavailable({ message: refusals.join("; ") })
})

/**
 * The command that runs a program of an installation. An installation of another release is entered first.
 */
export const command = (
  installation: RabbitMqInstallation,
  program: string,
  args: ReadonlyArray<string>
): Subprocess.Command =>
  installation.root === ""
    ? { program, args }
    : {
      program: "unshare",
      args: ["--mount", "sh", script("enter-release.sh"), installation.root, tmpdir(), program, ...args]
    }

/**
 * The environment of every program of an installation. It takes nothing from the environment of the tests, whose
 * `RABBITMQ_` variables would reach into the node.
 */
export const environment = (installation: RabbitMqInstallation): Record<string, string> => ({
  PATH: [installation.erlang, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    .join(delimiter),
  LANG: "C.UTF-8",
  ERL_CRASH_DUMP_BYTES: "0",
  TMPDIR: tmpdir()
})

const refuse = (message: string): Effect.Effect<never, RabbitMqUnavailable> =>
  Effect.fail(new RabbitMqUnavailable({ message }))

const installedHere = Effect.fnUntraced(function*(
  version: string | undefined
): Effect.fn.Return<RabbitMqInstallation, RabbitMqUnavailable> {
  const homes = [
    ...(yield* subdirectories("/usr/lib/rabbitmq/lib", "rabbitmq_server-")),
    ...(yield* subdirectories("/opt", "rabbitmq")),
    "/opt/homebrew/opt/rabbitmq",
    "/usr/local/opt/rabbitmq"
  ]
  const erlangs = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/lib/erlang/bin", "/opt/homebrew/bin"]
  const [installation] = yield* inspect("", homes, erlangs, "installed on this machine")
  if (installation === undefined) {
    return yield* refuse("no RabbitMQ with its Erlang is installed on this machine")
  }
  return yield* demand(installation, version)
})

const packagesOfThisRelease = Effect.fnUntraced(function*(
  version: string | undefined
): Effect.fn.Return<RabbitMqInstallation, RabbitMqUnavailable> {
  const release = yield* Effect.promise(() => readFile("/etc/os-release", "utf8").catch(() => ""))
  const codename = /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1]
  if (!/^ID(?:_LIKE)?=.*(?:debian|ubuntu)/m.test(release) || codename === undefined) {
    return yield* refuse("this is neither Debian nor Ubuntu, whose packages could be unpacked without root")
  }
  const target = join(cacheDirectory, `packages-${codename}-${arch()}`)
  yield* prepare("unpack-packages.sh", target, [])
  const erlang = join(target, "usr/lib/erlang/bin")
  const [installation] = yield* inspect(
    "",
    yield* subdirectories(join(target, "usr/lib/rabbitmq/lib"), "rabbitmq_server-"),
    [erlang],
    `unpacked from the packages of ${codename}`
  )
  if (installation === undefined) {
    return yield* refuse(`the packages of ${codename} do not hold a RabbitMQ that this rig understands`)
  }
  return yield* demand(installation, version)
})

const anotherRelease = Effect.fnUntraced(function*(
  version: string
): Effect.fn.Return<RabbitMqInstallation, RabbitMqUnavailable> {
  const release = debianReleases.get(version)
  if (release === undefined) {
    return yield* refuse(`no Debian release is known to carry RabbitMQ ${version}`)
  }
  if (platform() !== "linux" || process.getuid?.() !== 0) {
    return yield* refuse(`RabbitMQ ${version} lives in Debian ${release}, and entering that takes root on Linux`)
  }
  const root = join(cacheDirectory, `release-${release}-${arch()}`)
  if (!existsSync(root) && !existsSync("/usr/sbin/debootstrap")) {
    return yield* refuse(`RabbitMQ ${version} lives in Debian ${release}, and installing that takes debootstrap`)
  }
  yield* prepare("install-release.sh", root, [release])
  const homes = yield* subdirectories(join(root, "usr/lib/rabbitmq/lib"), "rabbitmq_server-")
  const [installation] = yield* inspect(
    root,
    homes.map((home) => home.slice(root.length)),
    ["/usr/lib/erlang/bin"],
    `in Debian ${release}`
  )
  if (installation === undefined) {
    return yield* refuse(`Debian ${release} does not hold a RabbitMQ that this rig understands`)
  }
  return yield* demand(installation, version)
})

const cacheDirectory = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "effect-amqp")

const script = (name: string): string => fileURLToPath(new URL(`../scripts/${name}`, import.meta.url))

const prepare = Effect.fnUntraced(function*(
  name: string,
  target: string,
  args: ReadonlyArray<string>
): Effect.fn.Return<void, RabbitMqUnavailable> {
  if (!existsSync(target)) {
    yield* Subprocess.run({ program: "sh", args: [script(name), target, ...args] }, { timeout: "10 minutes" }).pipe(
      Effect.mapError((error) => new RabbitMqUnavailable({ message: error.message }))
    )
  }
})

const demand = (
  installation: RabbitMqInstallation,
  version: string | undefined
): Effect.Effect<RabbitMqInstallation, RabbitMqUnavailable> =>
  version === undefined || `${installation.version}.`.startsWith(`${version}.`)
    ? Effect.succeed(installation)
    : refuse(`RabbitMQ ${installation.description} is ${installation.version}, not ${version}`)

const subdirectories = (directory: string, prefix: string): Effect.Effect<ReadonlyArray<string>> =>
  Effect.promise(() =>
    readdir(directory).then(
      (names) => names.filter((name) => name.startsWith(prefix)).map((name) => join(directory, name)),
      () => []
    )
  )

const inspect = (
  root: string,
  homes: ReadonlyArray<string>,
  erlangs: ReadonlyArray<string>,
  description: string
): Effect.Effect<ReadonlyArray<RabbitMqInstallation>> =>
  Effect.promise(async () => {
    const installations: Array<RabbitMqInstallation> = []
    const erlang = await firstWith(root, erlangs, "erl")
    if (erlang !== undefined) {
      const programs = await erlangPrograms(root, erlang)
      const [epmd, erlCall] = [await firstWith(root, programs, "epmd"), await firstWith(root, programs, "erl_call")]
      for (const home of homes) {
        const version = await versionOf(root, home)
        if (epmd !== undefined && erlCall !== undefined && version !== undefined) {
          installations.push({
            description,
            version,
            root,
            home,
            erlang,
            epmd: join(epmd, "epmd"),
            erlCall: join(erlCall, "erl_call")
          })
        }
      }
    }
    return installations
  })

const firstWith = async (
  root: string,
  directories: ReadonlyArray<string>,
  program: string
): Promise<string | undefined> => {
  for (const directory of directories) {
    const found = await access(join(root, directory, program)).then(() => true, () => false)
    if (found) {
      return directory
    }
  }
  return undefined
}

// Distributions disagree on which of Erlang's directories a program ends up in.
const erlangPrograms = async (root: string, erlang: string): Promise<ReadonlyArray<string>> => {
  const erl = join(root, erlang, "erl")
  // Inside another release a link may point at a path of that release, which this machine would misread.
  const tree = dirname(dirname(root === "" ? await realpath(erl) : erl))
  const names = await readdir(tree).catch(() => [])
  const libraries = await readdir(join(tree, "lib")).catch(() => [])
  return [
    erlang,
    ...[
      join(tree, "bin"),
      ...names.filter((name) => name.startsWith("erts-")).map((name) => join(tree, name, "bin")),
      ...libraries.filter((name) => name.startsWith("erl_interface-")).map((name) => join(tree, "lib", name, "bin"))
    ].map((directory) => directory.slice(root.length))
  ]
}

const versionOf = async (root: string, home: string): Promise<string | undefined> => {
  const plugins = await readdir(join(root, home, "plugins")).catch(() => [])
  return plugins.map((name) => /^rabbit-(\d+\.\d+\.\d+)/.exec(name)?.[1]).find((version) => version !== undefined)
}

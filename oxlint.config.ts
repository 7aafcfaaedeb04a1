import { defineConfig } from "oxlint"
import type { OxlintOverride } from "oxlint"

interface Package {
  /** Where its modules stand. */
  readonly source: string
  /**
   * From the ground up. A module may import its own floor and what stands below it, and nothing above. `room/` is every
   * module of `internal/room`, `name` one module, `*` every module that lies in `internal` itself and is not named.
   */
  readonly floors: ReadonlyArray<ReadonlyArray<string>>
}

export const packages: ReadonlyArray<Package> = [
  {
    source: "packages/amqp/src",
    floors: [
      ["AmqpError", "AmqpMessage", "OffsetStore", "*"],
      ["AmqpDriver", "PublishError", "wire/"],
      ["body/", "Codec", "delivery/", "AmqpDelivery"],
      ["amqplib/"],
      ["AmqplibDriver"],
      ["CurrentDriver"],
      ["connection/", "AmqpConnection"],
      ["AmqpChannel", "topology/", "AmqpTopology"],
      ["publisher/", "AmqpPublisher"],
      ["consumer/", "AmqpConsumer"],
      [
        "AmqpRedrive",
        "partitions/",
        "AmqpPartitions",
        "stream/",
        "AmqpStream",
        "KeyValueOffsetStore",
        "SqlOffsetStore"
      ],
      ["contract/", "AmqpContract", "AsyncApi"],
      ["index"]
    ]
  },
  {
    source: "packages/memory-broker/src",
    floors: [
      ["SeededRandom", "*"],
      ["queue", "singleActive", "messageQueue", "streamQueue", "exchange", "queueTimers"],
      ["virtualHost", "accounts", "dueWork"],
      [
        "channel",
        "ackTimeouts",
        "confirmDesk",
        "deliveries",
        "directReply",
        "consuming",
        "publishing",
        "requests",
        "broker"
      ],
      ["network", "link", "clientChannel", "handshake", "wire"],
      ["driver", "inspection", "service", "levers"],
      ["AmqpMemory"],
      ["FaultPlan"],
      ["index"]
    ]
  },
  {
    source: "packages/rpc/src",
    floors: [
      ["CallError", "service", "envelope", "tombstones"],
      ["calls", "running"],
      ["client", "server"],
      ["AmqpRpc"],
      ["index"]
    ]
  }
]

const barrel = { name: "effect", message: "Import the module: effect/Effect." }
const amqplib = { name: "amqplib", message: "Only AmqplibDriver and internal/amqplib may import amqplib." }
const brokers = {
  group: ["effect-amqp-memory", "effect-amqp-memory/*", "effect-amqp-test-rig", "effect-amqp-test-rig/*"],
  message: "The library does not know its brokers."
}
const adapter = {
  regex: "(^|/)(amqplib/[^/]+|AmqplibDriver)\\.ts$",
  message: "The port does not know its adapter: only CurrentDriver chooses it."
}
const abovePort = {
  regex: "^effect-amqp/(AmqplibDriver|AmqpConnection|AmqpChannel|AmqpTopology|AmqpPublisher|AmqpConsumer)$",
  message: "The memory broker stands behind the port."
}

const isPublic = (part: string): boolean => /^[A-Z]|^index$/.test(part)
const filesOf = (source: string, part: string): string =>
  part.endsWith("/") ? `${source}/internal/${part}**/*.ts` : `${source}/${isPublic(part) ? "" : "internal/"}${part}.ts`
const importOf = (part: string): string => part.endsWith("/") ? `${part}.+` : `${part}\\.ts`

// What a floor may not import beside what stands above it.
const restrictionsOf = (source: string, floor: ReadonlyArray<string>) => {
  if (source.startsWith("packages/memory-broker/")) {
    return { paths: [barrel, amqplib, { name: "effect-amqp", message: abovePort.message }], patterns: [abovePort] }
  }
  const isAdapter = floor.includes("amqplib/") || floor.includes("AmqplibDriver")
  const knowsAdapter = isAdapter || floor.includes("CurrentDriver") || floor.includes("index")
  return { paths: isAdapter ? [barrel] : [barrel, amqplib], patterns: knowsAdapter ? [brokers] : [brokers, adapter] }
}

const overridesOf = ({ floors, source }: Package): Array<OxlintOverride> =>
  floors.map((floor, index) => {
    const { paths, patterns } = restrictionsOf(source, floor)
    const above = floors.slice(index + 1).flat().map(importOf)
    const wrongWay = { regex: `^\\.{1,2}/(.*/)?(${above.join("|")})$`, message: `${floor.join(", ")} stands below it.` }
    return {
      files: floor.map((part) => filesOf(source, part)),
      rules: {
        "no-restricted-imports": ["error", { paths, patterns: above.length > 0 ? [...patterns, wrongWay] : patterns }]
      }
    }
  })

export default defineConfig({
  plugins: ["typescript", "unicorn", "oxc", "import"],
  categories: { correctness: "error", suspicious: "error", perf: "error" },
  ignorePatterns: ["**/dist", "**/node_modules", ".cache"],
  rules: {
    "no-console": "error",
    "import/no-cycle": ["error", { ignoreTypes: false }],
    "import/no-named-as-default": "off",
    "import/no-unassigned-import": "off",
    "no-await-in-loop": "off",
    "no-shadow": "off",
    "no-underscore-dangle": "off",
    "require-yield": "off",
    "typescript/array-type": ["error", { default: "generic" }],
    "typescript/consistent-type-imports": ["error", { fixStyle: "separate-type-imports" }],
    "typescript/no-explicit-any": "error",
    "unicorn/consistent-function-scoping": "off",
    "unicorn/no-array-for-each": "off",
    "unicorn/no-array-sort": "off"
  },
  overrides: [
    {
      files: ["packages/*/src/**/*.ts"],
      rules: { "no-restricted-imports": ["error", { paths: [barrel, amqplib], patterns: [brokers] }] }
    },
    ...packages.flatMap(overridesOf),
    {
      files: ["packages/{benchmark,example,packaging,test-rig,website}/**/*.ts", "packages/*/test/**/*.ts"],
      rules: { "no-restricted-imports": "off" }
    }
  ]
})

/**
 * The table of contents, in the order in which a newcomer reads.
 */
interface Section {
  readonly text: string
  readonly items: Array<{ readonly text: string; readonly link: string }>
}

const section = (text: string, folder: string, pages: Readonly<Record<string, string>>): Section => ({
  text,
  items: Object.entries(pages).map(([name, text]) => ({ text, link: `${folder}/${name}` }))
})

export const contents: Array<Section> = [
  section("Introduction", "", {
    "getting-started": "Get started",
    questions: "Questions",
    troubleshooting: "Troubleshooting"
  }),
  section("Tutorials", "/tutorials", {
    "hello-world": "1. Hello World",
    "work-queues": "2. Work queues",
    "publish-subscribe": "3. Publish and subscribe",
    routing: "4. Routing",
    topics: "5. Topics",
    rpc: "6. Remote procedure call",
    confirms: "7. Publisher confirms"
  }),
  section("Guides", "/guides", {
    reliability: "Reliability",
    consumers: "Consumers",
    contracts: "Contracts",
    rpc: "RPC",
    partitions: "Partitions",
    streams: "Streams",
    topology: "Topology",
    connections: "Connections",
    testing: "Testing",
    observability: "Observability",
    deployment: "Deployment",
    performance: "Performance"
  }),
  section("Coming from", "/coming-from", {
    amqplib: "amqplib",
    "amqp-connection-manager": "amqp-connection-manager",
    "rabbitmq-client": "rabbitmq-client",
    rascal: "rascal",
    nestjs: "NestJS and golevelup",
    "spring-and-masstransit": "Spring AMQP and MassTransit",
    "effect-messaging": "effect-messaging",
    "amqp-contract": "amqp-contract"
  }),
  section("More", "/guides", {
    guarantees: "Guarantees",
    options: "Options",
    support: "Support",
    architecture: "Architecture"
  })
]

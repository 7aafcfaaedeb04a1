import { Layer, ManagedRuntime } from "effect"
import { AmqpConnection, AmqpPublisher, AmqpTopology } from "effect-amqp"
import { createServer } from "node:http"

const orders = AmqpTopology.queue("orders", { type: "quorum" })

// For a program that is not made of Effects: Express, Nest, a script. One runtime, built once, disposed of at the end.
const runtime = ManagedRuntime.make(
  AmqpPublisher.layer().pipe(
    Layer.provide(AmqpTopology.layer(AmqpTopology.make(orders))),
    Layer.provide(AmqpConnection.layerConfig())
  )
)

const server = createServer((_request, response) => {
  runtime.runPromise(
    AmqpPublisher.AmqpPublisher.use((publisher) => publisher.publish({ routingKey: "orders", body: { id: 42 } }))
  ).then(
    () => response.writeHead(202).end("RabbitMQ has it\n"),
    (error: unknown) => response.writeHead(503).end(`${error}\n`)
  )
})

server.listen(Number(process.env["PORT"] ?? 3000), () => {
  process.stdout.write(`listening on ${JSON.stringify(server.address())}\n`)
})

// Waits for what is on its way, and says goodbye to the broker.
process.once("SIGTERM", () => server.close(() => void runtime.dispose()))

/**
 * Traces, metrics and logs by OpenTelemetry's protocol, sent to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names.
 */
import { Config, Effect, Layer, Option } from "effect"
import { FetchHttpClient } from "effect/http"
import { Otlp } from "effect/observability"

/**
 * Exports to the collector that the variable names, such as `http://localhost:4318`. Without the variable nothing is
 * exported.
 */
export const layer = Layer.unwrap(
  Effect.map(Config.option(Config.NonEmptyString("OTEL_EXPORTER_OTLP_ENDPOINT")), (endpoint) =>
    Option.isNone(endpoint)
      ? Layer.empty
      : Layer.provide(
        Otlp.layerJson({ baseUrl: endpoint.value, resource: { serviceName: "shop", serviceVersion: "1.0.0" } }),
        FetchHttpClient.layer
      ))
)

import { defineConfig } from "vitest/config"

// vitest no longer reads workspace files by itself: the test script names this one with --config.
export default defineConfig({
  test: {
    globalSetup: "packages/test-rig/src/vitestSetup.ts",
    projects: ["amqp", "memory-broker", "example", "test-rig", "benchmark", "workspace"].map((name) => ({
      test: {
        name,
        root: name === "workspace" ? "." : `packages/${name}`,
        include: ["test/**/*.test.ts"],
        testTimeout: 30_000,
        hookTimeout: 120_000
      }
    }))
  }
})

import { defineConfig } from "vitest/config"

const projects = [
  "amqp",
  "memory-broker",
  "rpc",
  "example",
  "test-rig",
  "benchmark",
  "packaging",
  "website",
  "workspace"
]

// vitest no longer reads workspace files by itself: the test script names this one with --config.
export default defineConfig({
  test: {
    globalSetup: "packages/test-rig/src/vitestSetup.ts",
    // What the library logs is shown for a test that fails.
    silent: "passed-only",
    slowTestThreshold: 10_000,
    projects: projects.map((name) => ({
      test: {
        name,
        root: name === "workspace" ? "." : `packages/${name}`,
        include: ["test/**/*.test.ts", "examples/**/*.test.ts"],
        // One limit for all, which only a hang reaches: a busy machine may take its time.
        testTimeout: 300_000,
        hookTimeout: 300_000
      }
    }))
  }
})

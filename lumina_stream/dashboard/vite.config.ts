import { defineConfig } from "vitest/config";

// The built files ship in the wheel: relative addresses, so that the page also works below a
// proxy's path, and no inlined data, which the page's policy would refuse.
export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  test: {
    testTimeout: 60_000, // for what hangs; how long a test takes depends on what else the machine does
    projects: [
      {
        // They put stand-ins in the place of modules that others import as they are.
        extends: true,
        test: { name: "net", include: ["src/net/*.test.ts"] },
      },
      {
        // A process for each of these would take longer to start than the test in it.
        extends: true,
        test: { name: "pure", include: ["src/{model,state,views}/**/*.test.ts"], isolate: false },
      },
    ],
  },
});

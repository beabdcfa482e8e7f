import { defineConfig } from "vite";

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
});

// Bundle the application into dist/: app.json and src/logging.js, as a service takes them, and the
// tests for `pyccf app test`, which are no part of the application.

import { copyFile, mkdir, rm } from "node:fs/promises";
import { build } from "esbuild";

const common = {
  bundle: true,
  format: "esm",
  // The engine knows ES2020 and most of what came after; see the README of the samples.
  target: "es2022",
  // With it stack traces name these sources, not the bundle.
  sourcemap: "linked",
  sourcesContent: false,
  logLevel: "warning",
};

await rm("dist", { recursive: true, force: true });
await mkdir("dist", { recursive: true });
await build({ ...common, entryPoints: ["src/logging.ts"], outfile: "dist/src/logging.js" });
await build({
  ...common,
  entryPoints: ["test/*.test.ts"],
  outdir: "dist/test",
  external: ["@pyccf/test"],
});
await copyFile("app.json", "dist/app.json");

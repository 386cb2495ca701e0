// Bundle the application into dist/: app.json and src/logging.js, as a service takes them.

import { copyFile, mkdir, rm } from "node:fs/promises";
import { build } from "esbuild";

await rm("dist", { recursive: true, force: true });
await mkdir("dist", { recursive: true });
await build({
  entryPoints: ["src/logging.ts"],
  outfile: "dist/src/logging.js",
  bundle: true,
  format: "esm",
  // The engine knows ES2020 and most of what came after; see the README of the samples.
  target: "es2022",
  // With it stack traces name these sources, not the bundle.
  sourcemap: "linked",
  sourcesContent: false,
  logLevel: "warning",
});
await copyFile("app.json", "dist/app.json");

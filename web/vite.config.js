import { defineConfig } from "vite";

// The broadcaster embeds these files at compile time, so their names are fixed and carry no hash.
export default defineConfig({
  base: "/",
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: false,
    rolldownOptions: {
      output: {
        entryFileNames: "assets/app.js",
        assetFileNames: "assets/app[extname]",
        codeSplitting: false,
        postBanner: "/* contains hls.js, https://github.com/video-dev/hls.js, Apache-2.0 */",
      },
    },
  },
  // `npx vite` shows the page of a broadcaster that runs on this machine.
  server: { proxy: { "/status": "http://127.0.0.1:9935", "/stream": "http://127.0.0.1:9935" } },
});

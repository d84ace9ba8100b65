// The light build has the same interface; its package lists no types for it.
declare module "hls.js/light" {
  export * from "hls.js";
  export { default } from "hls.js";
}

/**
 * The globals of Node that Deno gives to npm packages and not to other modules. Bundled packages are
 * other modules, so `scripts/build/bundle.ts` has them import from here what they take for global.
 *
 * @module
 */
export { Buffer } from "node:buffer";
export { default as process } from "node:process";
// A browser's timers are numbers; gRPC's keep-alive unrefs its own.
export {
  clearImmediate,
  clearInterval,
  clearTimeout,
  setImmediate,
  setInterval,
  setTimeout,
} from "node:timers";
export const global = globalThis;

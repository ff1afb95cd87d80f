/**
 * The CNI plugin `flannel`: connects containers to the host's subnet, by delegates or by itself.
 *
 * @module
 */
export { isPluginCall } from "./plugin_call.ts";

/**
 * The plugin `flannel` of CNI and of Podman: connects containers to the host's subnet, by delegates or by itself.
 *
 * @module
 */
export { pluginCalled } from "./plugin_call.ts";

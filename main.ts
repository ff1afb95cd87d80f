/**
 * The entry: a container runtime runs the program as a plugin of CNI or netavark, everybody else by its command line.
 * Loads one of them, since the time that a plugin takes to start is a part of each container's start.
 *
 * @module
 */

import { pluginCalled } from "./mod/cni/plugin_call.ts";

async function run(): Promise<number> {
  switch (pluginCalled(readCommandLine())) {
    case "cni": {
      const { runPlugin } = await import("./mod/cni/plugin.ts");
      return await runPlugin();
    }
    case "netavark": {
      const { runNetavarkPlugin } = await import("./mod/cni/netavark/plugin.ts");
      return await runNetavarkPlugin(Deno.args);
    }
    case undefined: {
      const { runCommandLine } = await import("./mod/cli/main.ts");
      return await runCommandLine(Deno.args);
    }
  }
}

/** The runtime does not pass on the name that the program was called by. */
function readCommandLine(): string {
  try {
    return Deno.readTextFileSync("/proc/self/cmdline");
  } catch {
    return ""; // without /proc
  }
}

if (import.meta.main) Deno.exit(await run());

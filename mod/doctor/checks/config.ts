import { checkConfig } from "../../../backends/check_config.ts";
import { ConfigError } from "../../config/mod.ts";
import { type Check, ok, problem, Unavailable, warning } from "../check.ts";

/** Checks that agents can use the config and know all of its keys. */
export const configCheck: Check = {
  id: "config",
  title: "the network config is valid",
  async run(host) {
    const { config: stored } = await host.snapshot();
    if (!("text" in stored)) throw new Unavailable("there is no config");
    const fix = ["correct the config in the store; agents follow it without a restart"];
    try {
      const { config, warnings } = await checkConfig(stored.text);
      if (warnings.length > 0) {
        return warning("the config holds keys that mean nothing", { evidence: warnings, fix });
      }
      return ok(`Network ${config.network}, SubnetLen ${config.subnetLen}, ${config.backend.type}`);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return problem(error.message, { fix });
    }
  },
};

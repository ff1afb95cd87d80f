import { assert, assertEquals } from "@std/assert";
import { ConfigError } from "../../../mod/config/errors.ts";
import { JsonSyntaxError, parseJson } from "../../../mod/config/json_syntax.ts";
import { decodeNetworkConfig, unknownKeys } from "../../../mod/config/mod.ts";
import { hideSecrets } from "../../../mod/config/secrets.ts";
import { Prefix } from "../../../mod/ip/mod.ts";
import { jsonNear, textNear } from "../mutate.ts";
import { type FuzzTarget, refusing, refusingAsync } from "../target.ts";

/** Configs of each backend. */
export const CONFIGS = [
  '{"Network":"10.20.0.0/16"}',
  '{"Network":"10.20.0.0/16","SubnetLen":26,"SubnetMin":"10.20.10.0","SubnetMax":"10.20.90.0","Backend":{"Type":"vxlan","VNI":7,"Port":8472,"DirectRouting":true}}',
  '{"Network":"100.64.0.0/10","Backend":{"Type":"udp","Port":8285},"EnableIPv6":false}',
  '{"Network":"10.0.0.0/8","EnableNFTables":true,"Backend":{"Type":"aws-vpc","RouteTableID":["rtb-1","rtb-2"],"AccessKeySecret":"x"}}',
] as const;
const KEYS = [
  ...["Network", "SubnetLen", "SubnetMin", "SubnetMax", "Backend", "Type", "EnableIPv6"],
  ...["EnableIPv4", "IPv6Network", "VNI", "network", "\u017fubnetLen"],
] as const;

export const networkConfig: FuzzTarget<string> = {
  name: "network_config",
  seeds: CONFIGS,
  inputs: jsonNear(CONFIGS, KEYS),
  start: () => async (text) => {
    hideSecrets(text);
    const config = await refusingAsync([ConfigError], () => decodeNetworkConfig(text));
    if (config === undefined) return;
    const { network, subnetLen, subnetMin, subnetMax } = config;
    assert(subnetLen >= network.length + 2 && subnetLen <= 30);
    assert(subnetMin <= subnetMax);
    for (const address of [subnetMin, subnetMax]) {
      assert(network.containsPrefix(new Prefix(address, subnetLen)));
      assertEquals(new Prefix(address, subnetLen).address, address);
    }
    unknownKeys(config);
  },
};

/** The JSON reader accepts what `JSON.parse` does, up to its depth. */
export const jsonSyntax: FuzzTarget<string> = {
  name: "json_syntax",
  seeds: [...CONFIGS, '[1.5e-3,"\\ud83d\\ude00",{"a":{}},null]'],
  inputs: textNear([...CONFIGS, '[1.5e-3,-0,"\\ud83d\\ude00\\n",{"a":{}},null,true]'], KEYS),
  start: () => (text) => {
    const node = refusing([JsonSyntaxError], () => parseJson(text));
    let isJson = true;
    try {
      JSON.parse(text);
    } catch {
      isJson = false;
    }
    const isDeep = (text.match(/[[{]/g)?.length ?? 0) > 1000;
    if (isDeep) assert(isJson || node === undefined);
    else assertEquals(node !== undefined, isJson);
  },
};

import { assertEquals, assertThrows } from "@std/assert";
import { parseAgentSubcommand } from "./agent_subcommand.ts";
import { UsageError } from "../errors.ts";
import { BARE_HOST, etcdOf } from "../testing/options_lab.ts";
import { oneNetwork } from "./one_network.ts";

async function parse(...args: string[]) {
  const spec = { name: "tidy", summary: "Tidies up.", flags: [], exitCodes: { 0: "always" } };
  const line = await parseAgentSubcommand(spec, args, {}, BARE_HOST);
  if ("help" in line) throw new Error(line.help);
  return line.agent.options;
}

Deno.test("oneNetwork() takes the one that is named, below the store's place", async () => {
  const options = oneNetwork(await parse("-etcd-prefix=/a", "-networks=blue"));
  assertEquals([etcdOf(options).prefix, options.networkName], ["/a/blue", "blue"]);
  const watching = oneNetwork(await parse("-store=embedded", "-watch-networks", "-networks=blue"));
  assertEquals(watching.store.kind === "embedded" && watching.store.network, "blue");
});

Deno.test("oneNetwork() leaves alone what is about one network", async () => {
  const options = await parse("-etcd-prefix=/a");
  assertEquals(oneNetwork(options), options);
});

Deno.test("oneNetwork() refuses several names, and none", async () => {
  const two = await parse("-networks=blue,green");
  assertThrows(
    () => oneNetwork(two),
    UsageError,
    "the agent serves the networks blue, green and this command takes one",
  );
  const none = await parse("-watch-networks");
  assertThrows(
    () => oneNetwork(none),
    UsageError,
    "the agent serves several networks (-watch-networks) and this command takes one",
  );
});

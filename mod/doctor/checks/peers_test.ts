import { assertEquals } from "@std/assert";
import { makeLease, recordingContext } from "../../../backends/testing/unit_kit.ts";
import { ipipBackend } from "../../../backends/ipip/ipip.ts";
import type { HostFacts } from "../host_facts.ts";
import { peersCheck } from "./peers.ts";

Deno.test("peersCheck reports a tunnel without a port as blocked where hosts are up", async () => {
  const context = await recordingContext({ Type: "ipip" });
  const { tunnel } = ipipBackend.inspect(context);
  const lease = makeLease("10.20.65.0/24", "172.28.128.102", { backendType: "ipip" });
  const peer = { lease, agent: undefined, refused: undefined };
  const reach = { peer, overlay: undefined, failure: undefined, isUp: true, port: undefined };
  const facts = {
    remember: () => Promise.resolve([reach]),
    tunnel: () => Promise.resolve(tunnel),
    plan: () => Promise.resolve({ kernel: [], tools: [] }),
    external: () => context.external,
  } as unknown as HostFacts;
  const { verdict, summary, fix } = await peersCheck.run(facts);
  assertEquals([verdict, summary], [
    ...["problem", "IP protocol 4 is blocked between this host and 1 of 1, which are up"],
  ]);
  assertEquals(fix, [
    "firewall-cmd --permanent --add-protocol=4 && firewall-cmd --reload   # on both hosts",
    "iptables -I INPUT -p 4 -j ACCEPT   # without firewalld, on both hosts",
    "in a cloud: let the hosts' security group take IP protocol 4 from itself",
    "tcpdump -ni eth1 ip proto 4   # which of the two does not see them?",
  ]);
});

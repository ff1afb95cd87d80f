/** Docker 28 where flanneld may not open its chains: the rules that explain names, and its changes. */
import { assertEquals, assertMatch } from "@std/assert";
import { LabDocker } from "../../lab/docker.ts";
import { GuideCluster } from "../../lab/guide_cluster.ts";
import type { UnderlayHost } from "../../lab/lab.ts";
import { FLANNELD } from "../../lab/unit.ts";
import { BACKENDS } from "../guide.ts";

/** Docker has two rules in the way, one behind the other. */
const MOST_CHANGES = 4;

interface Step {
  readonly object: string;
  readonly text: string;
  readonly wrong?: string;
  readonly fix?: readonly string[];
}

async function explain(host: UnderlayHost, address: string) {
  const { code, stdout } = await host.run([FLANNELD, "explain", address, "-json"]);
  return { code, steps: (JSON.parse(stdout) as { steps: Step[] }).steps };
}

for (const { type, config } of BACKENDS) {
  Deno.test(`flanneld explain names Docker 28's rules one after the other, and what lets packets through, by ${type}`, async () => {
    await using cluster = await GuideCluster.start({
      ...{ hosts: 2, config, options: "-iface=eth1 -docker-rules=off" },
    });
    await using stack = new AsyncDisposableStack();
    const [here, there] = cluster.hosts as [UnderlayHost, UnderlayHost];
    await cluster.startAgents();
    const near = await stack.use(await LabDocker.start(here, { version: "testing" })).run("near");
    // No rule of Docker drops the packet there; it is dropped here.
    const far = stack.use(await LabDocker.start(there, { args: ["--iptables=false"] }));
    const other = await far.run("other");
    const address = await near.address();
    assertEquals(await other.ping(address), 0);

    const named: string[] = [];
    let asked = await explain(here, address);
    for (let i = 0; i < MOST_CHANGES && asked.code !== 0; i++) {
      const stopped = asked.steps.find(({ fix }) => fix !== undefined)!;
      named.push(stopped.wrong!);
      for (const command of stopped.fix!) await here.exec(["sh", "-ec", command]);
      asked = await explain(here, address);
    }
    assertEquals(named.length, 2, named.join("\n"));
    assertMatch(named[0]!, /chain PREROUTING, table raw: .* -d \S+ ! -i docker0 -j DROP drops it$/);
    assertMatch(named[1]!, /chain DOCKER, table filter \(reached by FORWARD, DOCKER-FORWARD/);
    assertEquals(asked.code, 0);
    const inbound = asked.steps.find(({ object }) => object === "inbound")!;
    assertMatch(inbound.text, /: leaves by docker0, and is answered$/);
    assertEquals(await other.ping(address), 1);
    // From here there was nothing in the way.
    assertEquals(await near.ping(await other.address()), 1);
  });
}

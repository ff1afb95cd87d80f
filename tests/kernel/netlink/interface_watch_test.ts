import { assert, assertEquals } from "@std/assert";
import { findExternalInterface, InterfaceWatch } from "../../../mod/host/mod.ts";
import { captureLog } from "../../../mod/observe/testing/log_lab.ts";
import { libc, Netlink } from "../../../mod/sys/mod.ts";
import { NetworkNamespace } from "../../lab/netns.ts";

// Opened once for the process, as in the agent: no test's leak.
libc();

const OPTIONS = { ifaces: ["eth1"], regexes: [] };
const PAIR = "link add eth1 type veth peer name eth9";

/** A command, and whether the watch reports it. */
const CHANGES: readonly (readonly [command: string, expected: boolean])[] = [
  ["link set eth1 mtu 1400", true],
  ["address add 172.28.128.201/24 dev eth1", true],
  ["address del 172.28.128.101/24 dev eth1", true],
  ["link set eth1 down", true],
  // The other end of the wire.
  ["link set lo mtu 60000", false],
  ["link add docker0 type bridge", false],
  ["address add 10.20.1.1/24 dev docker0", false],
  ["link set docker0 up", false],
  ["link del docker0", false],
  ["link del eth1", true],
  // Another interface under the same name.
  [PAIR, true],
  ["address add 172.28.128.101/24 dev eth1", true],
];

Deno.test("InterfaceWatch.run() reports changes of the interface, and nothing else", async () => {
  using _log = captureLog();
  await using namespace = await NetworkNamespace.create();
  const ip = (line: string) => namespace.ip(...line.split(" "));
  await ip(PAIR);
  await ip("address add 172.28.128.101/24 dev eth1");
  await ip("link set eth1 up");
  using netlink = Netlink.open({ netns: namespace.path });
  const chosen = findExternalInterface(OPTIONS, netlink);
  const watch = new InterfaceWatch({ options: OPTIONS, chosen, netlink });
  const stop = new AbortController();
  let calls = 0;
  const ended = watch.run(stop.signal, () => calls++, namespace.path);
  try {
    assertEquals(calls, 1, "one at the beginning");
    for (const [command, expected] of CHANGES) {
      await new Promise((resolve) => setTimeout(resolve, 300));
      calls = 0;
      await ip(command);
      if (!expected) {
        await new Promise((resolve) => setTimeout(resolve, 300));
        assertEquals(calls, 0, command);
        continue;
      }
      const until = performance.now() + 5_000;
      while (calls === 0) {
        assert(performance.now() < until, command);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  } finally {
    stop.abort();
    await ended;
  }
});

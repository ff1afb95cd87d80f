/** The first boot of a VM that has the package: tests/vm/reboot.ts. */
import { assert, assertEquals } from "@std/assert";
import { eventually, overlayAddress } from "../../e2e/guide.ts";
import { run } from "../../lab/command.ts";
import {
  CONTAINER,
  loadedModules,
  pingFromContainer,
  startPeer,
  STATE,
  stateOfHost,
} from "./booted_host.ts";

Deno.test("flanneld.service starts at boot, and the kernel loads vxlan and nf_tables for it", async () => {
  const units = ["systemd-udevd", "systemd-networkd", "etcd", "flanneld", "docker"];
  assertEquals(await run(["systemctl", "is-active", ...units]), "active\n".repeat(units.length));
  const modules = await loadedModules();
  for (const name of ["vxlan", "nf_tables"]) assert(modules.includes(name), modules.join(" "));
});

Deno.test("the package's file keeps systemd-networkd off flannel.1", async () => {
  const { AdministrativeState } = JSON.parse(
    await run(["networkctl", "--json=short", "status", "flannel.1"]),
  );
  assertEquals(AdministrativeState, "unmanaged");
});

Deno.test("a container reaches another host, and that host the container", async () => {
  await using stack = new AsyncDisposableStack();
  const peer = await startPeer(stack);
  const image = "mkdir -p /run/image/bin && cp /usr/bin/busybox /run/image/bin/ && " +
    "tar -C /run/image -c . | docker import - busybox:vm";
  await run(["sh", "-ec", image]);
  await run([
    ...["docker", "run", "--detach", "--name", CONTAINER, "--restart", "always"],
    ...["--stop-signal", "KILL", "busybox:vm", "busybox", "tail", "-f", "/dev/null"],
  ]);
  const address = /^10\.20\.\d+\.\d+$/m.exec(await stateOfHost())![0];
  await eventually("an answer of the container", async () => await peer.ping(address) === 1);
  await pingFromContainer(await overlayAddress(peer));
  await Deno.writeTextFile(STATE, await stateOfHost());
});

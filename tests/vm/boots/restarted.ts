/** The second boot of the VM of started.ts. */
import { assert, assertEquals, assertNotMatch } from "@std/assert";
import { eventually, overlayAddress } from "../../e2e/guide.ts";
import {
  journal,
  loadedModules,
  pingFromContainer,
  setConfig,
  startPeer,
  STATE,
  stateOfHost,
} from "./booted_host.ts";

/** Backends of modules that are not loaded yet: the unit may load none. */
const OTHERS = [
  { backend: "udp", module: "tun", device: "flannel0" },
  { backend: "ipip", module: "ipip", device: "flannel.ipip" },
];

Deno.test("flanneld.service after a reboot", async (t) => {
  await using stack = new AsyncDisposableStack();
  const peer = await startPeer(stack);

  await t.step("has the subnet, the container's address and the kernel's objects", async () => {
    const before = await Deno.readTextFile(STATE);
    const address = /^10\.20\.\d+\.\d+$/m.exec(before)![0];
    await eventually("an answer of the container", async () => await peer.ping(address) === 1);
    await pingFromContainer(await overlayAddress(peer));
    assertEquals(await stateOfHost(), before);
    assertNotMatch(await journal("flanneld"), /^[WEF]\d{4} .*/m);
  });

  for (const { backend, module, device } of OTHERS) {
    await t.step(`needs ${module} for ${backend}, which the kernel loads`, async () => {
      assert(!(await loadedModules()).includes(module));
      await setConfig(backend);
      const address = `\n${device} 10.20.`;
      await eventually(device, async () => (await stateOfHost()).includes(address));
      assert((await loadedModules()).includes(module));
    });
  }
});

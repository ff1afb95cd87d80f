/** What UdpKernel does when the kernel's verifier refuses its programs. */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { BackendLab, NETWORK } from "../../backends/backend_lab.ts";
import { UdpDataPath } from "../../backends/udp/data_path.ts";
import { MAPS } from "../../backends/udp/kernel/layout.ts";
import { pinDirectory } from "../../backends/udp/kernel/pins.ts";
import { UdpKernel } from "../../backends/udp/kernel/udp_kernel.ts";
import { Prefix } from "../../mod/ip/mod.ts";
import { captureLog } from "../../mod/observe/log_lab.ts";
import { bpf } from "../../mod/sys/bpf/call.ts";
import {
  BpfError,
  BpfMap,
  makePinDirectory,
  MapType,
  pathExists,
  pin,
  removePinDirectory,
} from "../../mod/sys/bpf/mod.ts";

/** BPF_F_RDONLY_PROG of linux/bpf.h: programs may not write to the map. */
const READ_ONLY_FOR_PROGRAMS = 1 << 7;

/** Pins a map of ours in which programs cannot count: the verifier refuses those that would. */
function pinUnwritable(directory: string): void {
  const { type, keySize, valueSize, maxEntries } = MAPS.reasons;
  const attributes = new Uint8Array(new ArrayBuffer(48));
  const view = new DataView(attributes.buffer);
  [MapType[type], keySize, valueSize, maxEntries, READ_ONLY_FOR_PROGRAMS]
    .forEach((value, i) => view.setUint32(i * 4, value, true));
  using map = new BpfMap(bpf("BPF_MAP_CREATE", attributes), MAPS.reasons);
  makePinDirectory(directory);
  pin(map.fd, `${directory}/reasons`);
}

for (const datapath of ["auto", "kernel"] as const) {
  Deno.test(
    `UdpKernel with ${datapath} and programs that the verifier refuses ${
      datapath === "auto"
        ? "leaves all to user space, with one line"
        : "throws, with the verifier's log"
    }`,
    async () => {
      using log = captureLog();
      await using lab = await BackendLab.make();
      const { host } = lab;
      const context = await host.context({ Type: "udp" }, { udp: { datapath } });
      const { address } = host.external;
      await using behind = await UdpDataPath.open({
        ...{ network: Prefix.parse(NETWORK)!, subnetLen: 24, address, netns: host.namespace.path },
      });
      const { index } = host.netlink.link(behind.device)!;
      host.namespace.enter(() => {
        const directory = pinDirectory(behind.device);
        pinUnwritable(directory);
        try {
          const kernel = new UdpKernel(context, 8285, behind.device);
          if (datapath === "kernel") {
            const error = assertThrows(() => kernel.open(index, behind), BpfError);
            assertMatch(error.message, /^BPF program \w+: write into map forbidden.*EACCES/);
            assert(error.log.split("\n").length > 10, error.log);
            return;
          }
          kernel.open(index, behind);
          kernel.open(index, behind); // What was refused for good is not asked for again.
          assertEquals(log.lines.length, 1, log.lines.join("\n"));
          assertMatch(
            log.lines[0]!,
            /^W udp stays in user space: BPF program \w+: write into map forbidden.*EACCES/,
          );
          assertEquals(kernel.features(), []);
          assertEquals(kernel.figures(), undefined);
          assert(!pathExists(directory), "nothing half-done is left");
          kernel.close();
        } finally {
          removePinDirectory(directory);
        }
      });
    },
  );
}

// docs/containers/nomad.md, without Nomad: its configuration, run as Nomad 2.0 runs plugins (client/allocrunner/networking_cni.go).

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { dirname } from "node:path";
import { VERSION } from "../../../mod/version.ts";
import type { NetworkNamespace } from "../../lab/netns.ts";
import { FLANNELD } from "../../lab/unit.ts";
import { eventually } from "../guide.ts";
import { blocks } from "../pages.ts";
import { CniLab, type NetConf } from "./cni_lab.ts";

/** Id of an allocation, the container's. */
const ALLOCATION = "6b235529-8111-4bbe-520b-d639b1d2a94e";

/** CNI_ARGS of an allocation. */
const ARGS = "IgnoreUnknown=true;NOMAD_REGION=global;NOMAD_NAMESPACE=default;NOMAD_JOB_ID=web;" +
  `NOMAD_GROUP_NAME=web;NOMAD_ALLOC_ID=${ALLOCATION}`;

const PORTS = ["tcp", "udp"].map((protocol) => ({ hostPort: 25000, containerPort: 80, protocol }));

/** Runs the blocks where /opt is empty. @returns the configuration that they write */
async function readConfigList(): Promise<{ name: string; cniVersion: string; plugins: NetConf[] }> {
  const [install, write] = await blocks("docs/containers/nomad.md", "Set it up", 2);
  const show = "test -x /opt/cni/bin/flannel\ncat /opt/cni/config/flannel.conflist";
  const { code, stdout, stderr } = await new Deno.Command("unshare", {
    args: ["--mount", "sh", "-ec", `mount -t tmpfs tmpfs /opt\n{ ${install}} >&2\n${write}${show}`],
    env: { PATH: `${dirname(FLANNELD)}:${Deno.env.get("PATH")}` },
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test("docs/containers/nomad.md: the configuration connects an allocation and publishes its port", async () => {
  const { name, cniVersion, plugins } = await readConfigList();
  await using lab = await CniLab.create();
  let container = await lab.container();
  /** Calls the plugins of the list, as libcni does. */
  const callAll = async (command: string, list: readonly NetConf[], result?: NetConf) => {
    let prevResult = result;
    for (const plugin of list) {
      const output = await lab.succeed({
        ...{ command, container, id: ALLOCATION, args: ARGS, plugin: String(plugin.type) },
        config: {
          ...{ ...plugin, name, cniVersion },
          ...plugin.capabilities === undefined ? {} : { runtimeConfig: { portMappings: PORTS } },
          ...prevResult === undefined ? {} : { prevResult },
          ...plugin.builtin === undefined ? {} : {
            subnetFile: `${lab.directory}/subnet.env`,
            builtin: { ...plugin.builtin, leaseDir: lab.leaseDir },
          },
        },
      });
      if (command === "ADD") prevResult = output;
    }
    return prevResult;
  };
  const result = await callAll("ADD", plugins);
  assertMatch(JSON.stringify(result), /"address":"10\.20\.93\.2\/24"/);
  const url = "http://10.20.93.1:25000/hostname";
  const isPublished = () =>
    lab.host.exec("busybox", "wget", "-qO-", "-T", "3", url).then(() => true, () => false);
  await using server = serve(container);
  await eventually("the port is published", isPublished);
  // CHECK of Debian's portmap (1.1) looks for IPv6 rules, too; Nomad calls CHECK of 1.3 or newer.
  await callAll("CHECK", plugins.slice(0, 1), result);
  await callAll("DEL", plugins.toReversed(), result);
  assertEquals([await lab.links(), await isPublished()], [["cni0"], false]);
  server.kill();

  // After a CHECK that fails, Nomad removes the namespace and calls ADD for the next one, without DEL.
  const checked = await callAll("ADD", plugins.slice(0, 1));
  await container.ip("addr", "flush", "dev", "eth0");
  await assertRejects(() => callAll("CHECK", plugins.slice(0, 1), checked));
  await lab.remove(container);
  container = await lab.container();
  await eventually("the device is gone", async () => (await lab.links()).length === 1);
  await callAll("ADD", plugins.slice(0, 1));
  assertEquals(lab.builtinLeases("flannel").length, 1);
});

/** Starts a server on port 80. */
function serve(container: NetworkNamespace): Deno.ChildProcess {
  return new Deno.Command("ip", {
    args: ["netns", "exec", container.name, ..."busybox httpd -f -p 80 -h /etc".split(" ")],
  }).spawn();
}

Deno.test("the plugin without a command prints the version that Nomad reads", async () => {
  await using lab = await CniLab.create({});
  const { code, stderr } = await new Deno.Command(`${lab.bin}/flannel`, {
    clearEnv: true,
  }).output();
  const text = new TextDecoder().decode(stderr);
  // The first word that is a semantic version (client/fingerprint/plugins_cni.go).
  const version = text.split(/\s+/).find((word) => /^v?\d+\.\d+\.\d+$/.test(word));
  assertEquals([code, version], [0, `v${VERSION}`]);
});

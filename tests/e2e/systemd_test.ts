import { assert, assertEquals, assertMatch } from "@std/assert";
import { Lab, type UnderlayHost } from "../lab/lab.ts";
import { LabEtcd } from "../lab/etcd/lab_etcd.ts";
import { installAgent, LabSystemd, UNIT } from "../lab/systemd.ts";
import { FLANNELD } from "../lab/unit.ts";
import { eventually, isFullMesh, PREFIX, standInForDevice, subnetEnv, subnetOf } from "./guide.ts";
import { writeSysconfig } from "./guide.ts";

/** Highest score of the unit: 0 is best, 10 is an unbounded root service (9.6). */
const EXPOSURE = "2.8";

/** capability(7), include/uapi/linux/capability.h: NET_ADMIN, NET_RAW, PERFMON, BPF. */
const CAPABILITIES = 1n << 12n | 1n << 13n | 1n << 38n | 1n << 39n;

async function processStatus(systemd: LabSystemd): Promise<Record<string, string>> {
  const pid = await systemd.property("flanneld", "MainPID");
  const text = await Deno.readTextFile(systemd.path(`/proc/${pid}/status`));
  return Object.fromEntries(
    text.split("\n").map((line) => line.split(/:\s*/, 2) as [string, string]),
  );
}

Deno.test(`flanneld.service scores ${EXPOSURE} or less in systemd-analyze security`, async () => {
  const { success, stdout, stderr } = await new Deno.Command("systemd-analyze", {
    args: [
      ...["security", "--offline=true", "--no-pager"],
      ...[`--threshold=${Number(EXPOSURE) * 10}`, UNIT],
    ],
  }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert(success, text);
  // A key or value that this systemd does not know would only be passed over.
  assert(!/Unknown|Failed to parse|ignoring/i.test(text), text);
});

Deno.test("flanneld.service does all its work within its own limits, under a real systemd", async (t) => {
  await using lab = await Lab.start({ hosts: 2 });
  await using stack = new AsyncDisposableStack();
  const [one, two] = lab.hosts as [UnderlayHost, UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(one));
  const setConfig = (backend: Record<string, unknown>) =>
    etcd.set(
      "v3",
      `${PREFIX}/config`,
      JSON.stringify({ Network: "10.20.0.0/16", Backend: backend }),
    );
  await setConfig({ Type: "vxlan" });
  await writeSysconfig(one, etcd, {
    options: "-iface=eth1 -ip-masq -firewall=iptables -udp-datapath=kernel " +
      '-on-subnet-change=\\"systemctl restart lab-follower.service\\"',
  });
  await writeSysconfig(two, etcd, {
    options: "-iface=eth1 -ip-masq -firewall=nftables -udp-datapath=user",
  });
  const systemds: LabSystemd[] = [];
  for (const host of lab.hosts) {
    const systemd = stack.use(await LabSystemd.start(host));
    await installAgent(systemd);
    systemds.push(systemd);
  }
  const [first, second] = systemds as [LabSystemd, LabSystemd];

  const works = async () => {
    await eventually("a full mesh", () => isFullMesh(lab.hosts)).catch(async (error) => {
      for (const systemd of systemds) console.log(await systemd.journal("flanneld"));
      throw error;
    });
  };

  await t.step("vxlan, with both firewall tools", async () => {
    for (const systemd of systemds) {
      await systemd.exec(["systemctl", "start", "flanneld"]).catch(async (error) => {
        throw new Error(`${error.message}${await systemd.journal("flanneld")}`);
      });
    }
    await works();
    for (const [i, systemd] of systemds.entries()) {
      const status = await processStatus(systemd);
      assertEquals(BigInt(`0x${status.CapBnd}`), CAPABILITIES);
      assertEquals(BigInt(`0x${status.CapEff}`), CAPABILITIES);
      assertEquals(status.NoNewPrivs, "1");
      assertEquals(status.Seccomp, "2");
      // ExecStartPost, in the same limits.
      const docker = await lab.hosts[i]!.readTextFile("/run/flannel/docker");
      assertMatch(docker, /^DOCKER_NETWORK_OPTIONS=" --bip=10\.20\.\d+\.1\/24 /m);
    }
    assertMatch(await one.exec(["iptables", "-t", "nat", "-S"]), /-A FLANNEL-POSTRTG .*MASQUERADE/);
    assertMatch(await two.exec(["nft", "list", "table", "ip", "flannel-ipv4"]), /masquerade/);
    const pid = await first.property("flanneld", "MainPID");
    const writable = async (path: string) => {
      const { code } = await first.run(["nsenter", "--target", pid, "--mount", "test", "-w", path]);
      return code === 0;
    };
    for (const path of ["/usr", "/etc", "/var/lib/dpkg", "/proc/sys/kernel/panic", "/root"]) {
      assert(!await writable(path), path);
    }
    for (const path of ["/run", "/var/lib/flannel", "/sys/fs/bpf", "/tmp"]) {
      assert(await writable(path), path);
    }
  });

  await t.step("the answer to what doctor on the other host asks", async () => {
    const { stdout } = await one.run([FLANNELD, "doctor", "-json"]);
    const { checks } = JSON.parse(stdout) as { checks: { id: string; evidence: string[] }[] };
    const { evidence } = checks.find(({ id }) => id === "containers")!;
    assertMatch(evidence.join(), /no bridge there has an address of the lease/);
  });

  await t.step("udp, in the kernel on one host and in user space on the other", async () => {
    await setConfig({ Type: "udp" });
    for (const host of lab.hosts) {
      await eventually("flannel0", async () => {
        return (await host.run(["ip", "link", "show", "flannel0"])).code === 0 &&
          (await subnetEnv(host)).FLANNEL_MTU === "1472";
      }).catch(async (error) => {
        for (const systemd of systemds) console.log(await systemd.journal("flanneld"));
        throw error;
      });
    }
    await works();
    assert((await one.exec(["ls", "/sys/fs/bpf/flanneld"])).startsWith("flannel0_"));
    assertEquals((await two.run(["ls", "/sys/fs/bpf/flanneld"])).code, 2);
  });

  await t.step("host-gw", async () => {
    await setConfig({ Type: "host-gw" });
    for (const host of lab.hosts) {
      await eventually("host-gw", async () => (await subnetEnv(host)).FLANNEL_MTU === "1500");
      await standInForDevice(host, { type: "host-gw", config: "", mtu: 1500 });
    }
    await works();
  });

  await t.step("the command of -on-subnet-change may speak to systemd", async () => {
    await one.writeTextFile(
      "/etc/systemd/system/lab-follower.service",
      "[Service]\nType=oneshot\nRemainAfterExit=yes\nEnvironmentFile=/run/flannel/subnet.env\n" +
        "ExecStart=/bin/sh -c 'echo subnet $FLANNEL_SUBNET'\n",
    );
    await first.exec(["systemctl", "daemon-reload"]);
    await first.exec(["systemctl", "start", "lab-follower"]);
    const before = await first.property("lab-follower", "InvocationID");
    await etcd.set(
      "v3",
      `${PREFIX}/config`,
      '{"Network": "10.30.0.0/16", "Backend": {"Type": "vxlan"}}',
    );
    await eventually("Docker's stand-in is restarted", async () => {
      return await first.property("lab-follower", "InvocationID") !== before &&
        (await first.journal("lab-follower")).includes("subnet 10.30.");
    }).catch(async (error) => {
      throw new Error(`${error.message}\n${await first.journal("flanneld")}`);
    });
    await works();
  });

  await t.step(
    "an agent that hangs is ended by the watchdog, and takes up its subnet",
    async () => {
      const dropIn = "/etc/systemd/system/flanneld.service.d/watchdog.conf";
      await two.writeTextFile(dropIn, "[Service]\nWatchdogSec=2\nRestartSec=100ms\n");
      await second.exec(["systemctl", "daemon-reload"]);
      const subnet = await subnetOf(two);
      await second.exec(["systemctl", "restart", "flanneld"]);
      // Fed: it lives for longer than its watchdog's limit.
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      assertEquals(await second.property("flanneld", "NRestarts"), "0");
      // So it does while etcd is down: to start it again would not bring etcd back.
      await etcd.stop();
      await new Promise((resolve) => setTimeout(resolve, 4_000));
      await etcd.start();
      assertEquals(await second.property("flanneld", "NRestarts"), "0");
      const hung = await second.property("flanneld", "MainPID");
      await second.exec(["kill", "-STOP", hung]);
      await eventually("a new agent", async () => {
        return await second.property("flanneld", "NRestarts") === "1" &&
          await second.property("flanneld", "ActiveState") === "active";
      });
      assertEquals(await subnetOf(two), subnet);
      await works();
      await second.exec(["systemctl", "stop", "flanneld"]);
      assertEquals(await second.property("flanneld", "Result"), "success");
    },
  );
});

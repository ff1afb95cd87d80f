/** An agent, and what it needs of its host. */
import { hang, resume, unwrapTool, wrapTool } from "../../lab/hanging_iptables.ts";
import { FLANNELD } from "../../lab/unit.ts";
import type { ChaosHost } from "../cluster.ts";
import { type Fault, type Heal, STORE_KINDS, type Target } from "../fault.ts";
import { otherBuild } from "../other_build.ts";

/** Debian's package libfaketime; the dynamic linker finds the directory of the machine by `$LIB`. */
const FAKETIME = "/usr/$LIB/faketime/libfaketime.so.1";

/** Clock of the agent, for libfaketime. */
const CLOCK = "/etc/chaos-clock";

const everywhere = { scope: "host", affects: "nobody", stores: STORE_KINDS } as const;

/** Something that the agent is not running for: its packets go on all the same. */
function whileDown(name: string, end: "stop" | "kill"): Fault {
  return {
    ...{ ...everywhere, name, holdMs: [1_000, 10_000] },
    async inject({ host }) {
      await host.agent[end]();
      return () => host.agent.start();
    },
  };
}

/** Changes /run under a running agent, which is then started again and may fail until the change ends. */
function changedRun(name: string, change: string, restore: string): Fault {
  return {
    ...{ ...everywhere, name, allows: ["exit"], holdMs: [3_000, 10_000] },
    async inject({ host }) {
      await host.shell(change);
      await host.agent.kill();
      await host.agent.launch();
      return async () => {
        await host.shell(restore);
      };
    },
  };
}

/** Starts an agent again as it is configured now. */
async function restart({ agent }: ChaosHost): Promise<void> {
  await agent.stop();
  await agent.start();
}

async function skewClock({ host, random }: Target): Promise<Heal> {
  const set = (offset: string) => host.lab.writeTextFile(CLOCK, `${offset}\n`);
  await set("+0");
  await host.configure({
    LD_PRELOAD: FAKETIME,
    FAKETIME_TIMESTAMP_FILE: CLOCK,
    FAKETIME_NO_CACHE: "1",
    // As with a real clock that is set: what counts time since the boot goes on.
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
    NO_FAKE_STAT: "1",
  });
  await restart(host);
  await set(["+2d", "-2d"][random(2)]!);
  return async () => {
    await set("+0");
    await host.configure();
    await restart(host);
  };
}

export const HOST_FAULTS: readonly Fault[] = [
  whileDown("agent-killed", "kill"),
  whileDown("agent-stopped", "stop"),
  {
    ...{ ...everywhere, name: "agent-frozen", holdMs: [8_000, 90_000] },
    inject({ host }) {
      host.agent.freeze(true);
      return Promise.resolve(() => Promise.resolve(host.agent.freeze(false)));
    },
  },
  changedRun(
    "run-full",
    "mount -o remount,size=$(($(df -k --output=used /run | tail -n 1) + 16))k /run; " +
      "dd if=/dev/zero of=/run/fill bs=1k 2>/dev/null || true",
    "rm /run/fill; mount -o remount,size=50% /run",
  ),
  changedRun(
    "run-read-only",
    "mount --bind /run /run; mount -o remount,bind,ro /run",
    "umount /run",
  ),
  {
    ...{ ...everywhere, name: "few-descriptors", allows: ["exit"], holdMs: [3_000, 10_000] },
    async inject({ host: { agent, lab } }) {
      const { pid } = agent;
      const used = Array.from(Deno.readDirSync(`/proc/${pid}/fd`)).length;
      const limits = await Deno.readTextFile(`/proc/${pid}/limits`);
      const [, soft, hard] = /^Max open files +(\d+) +(\d+)/m.exec(limits)!;
      const limit = async (values: string) => {
        await new Deno.Command("prlimit", { args: [`--pid=${pid}`, `--nofile=${values}`] })
          .output();
      };
      await limit(`${used + 1}:${hard}`);
      // Something to open descriptors for.
      await lab.run([FLANNELD, "status"]);
      return () => limit(`${soft}:${hard}`);
    },
  },
  {
    ...{ ...everywhere, name: "iptables-hangs", holdMs: [6_000, 40_000] },
    async inject({ host: { lab } }) {
      await wrapTool(lab);
      await hang(lab);
      return async () => {
        await resume(lab);
        await unwrapTool(lab);
      };
    },
  },
  {
    ...{ ...everywhere, name: "iptables-missing", allows: ["exit"], holdMs: [4_000, 20_000] },
    async inject({ host, random }) {
      const upper = `${host.lab.dir}/sbin`;
      await host.shell(
        `mkdir -p ${upper} ${upper}.work
         mount -t overlay -o lowerdir=/usr/sbin,upperdir=${upper},workdir=${upper}.work overlay /usr/sbin
         rm /usr/sbin/iptables* /usr/sbin/xtables*`,
      );
      if (random(2) === 0) {
        await host.agent.kill();
        await host.agent.launch();
      }
      return async () => {
        await host.shell(`umount -l /usr/sbin; rm -rf ${upper} ${upper}.work`);
      };
    },
  },
  {
    ...{ ...everywhere, name: "clock-two-days-off", holdMs: [3_000, 30_000] },
    inject: skewClock,
  },
  {
    ...{ ...everywhere, name: "other-build", holdMs: [2_000, 20_000] },
    async inject({ host }) {
      await host.shell(`mount --bind ${await otherBuild()} ${FLANNELD}`);
      await restart(host);
      return async () => {
        await host.agent.stop();
        await host.shell(`umount ${FLANNELD}`);
        await host.agent.start();
      };
    },
  },
];

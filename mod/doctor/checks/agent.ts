import { AlreadyRunningError, refuseRunning } from "../../agent/host/host_lock.ts";
import { type Check, ok, problem, warning } from "../check.ts";

/** systemd runs this host (sd_booted(3)). */
const SYSTEMD = "/run/systemd/system";
const UNIT = "flanneld";

/** Checks that an agent runs, and that systemd starts it at boot. */
export const agentCheck: Check = {
  id: "agent",
  title: "flanneld runs",
  async run({ options: { subnetFile } }) {
    const start = [`systemctl enable --now ${UNIT}`, `journalctl -u ${UNIT} -n 50`];
    const evidence = await unitState();
    try {
      await refuseRunning(subnetFile);
    } catch (error) {
      if (!(error instanceof AlreadyRunningError)) throw error;
      const pid = error.holder === undefined ? "" : `, pid ${error.holder.pid}`;
      if (evidence.includes("is-enabled: disabled")) {
        return warning(`it runs${pid}, but is not started at boot`, {
          evidence,
          fix: [`systemctl enable ${UNIT}`],
        });
      }
      return ok(`it runs with ${subnetFile}${pid}`, evidence);
    }
    return problem(`no flanneld runs with ${subnetFile}`, {
      evidence: [
        "what is in the kernel stays and carries packets; news of peers, repairs and the lease's " +
        "renewal wait (udp in user space carries nothing)",
        ...evidence,
      ],
      fix: start,
    });
  },
};

/** Returns the state of the unit in systemd; nothing on a host without systemd. */
async function unitState(): Promise<string[]> {
  try {
    await Deno.stat(SYSTEMD);
  } catch {
    return [];
  }
  const lines: string[] = [];
  for (const verb of ["is-active", "is-enabled"]) {
    try {
      const { stdout } = await new Deno.Command("systemctl", {
        args: [verb, UNIT],
        stdin: "null",
        stderr: "null",
        signal: AbortSignal.timeout(5_000),
      }).output();
      lines.push(`${verb}: ${new TextDecoder().decode(stdout).trim() || "no such unit"}`);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return lines;
}

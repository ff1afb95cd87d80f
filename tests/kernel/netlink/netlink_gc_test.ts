// The kernel tests once more while V8 collects and moves as often as it can be made to: memory that the
// kernel knows by address must neither go away nor move. (Without the arena's hold on its memory
// the first of these runs dies of SIGSEGV.)

import { assert } from "@std/assert";

const SUITE = new URL("./netlink_test.ts", import.meta.url).pathname;

const FLAGS = {
  "every 200 allocations": "--gc-interval=200",
  "compacting": "--gc-interval=500,--stress-compaction",
  "of the young generation at random": "--stress-scavenge=50",
};

for (const [how, flags] of Object.entries(FLAGS)) {
  Deno.test(`Netlink and monitor() survive garbage collection ${how}`, async () => {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", "--no-check", `--v8-flags=${flags}`, SUITE],
      env: { NO_COLOR: "1" },
    }).output();
    const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    assert(success, decode(stdout) + decode(stderr));
    assert(/ok \| [1-9][0-9]* passed/.test(decode(stdout)), decode(stdout));
  });
}

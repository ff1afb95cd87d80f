/**
 * A process that leases subnets as fast as it can, and prints each acknowledged lease; for tests that
 * kill it.
 *
 * Arguments: the path of the file, and a word of this run's.
 *
 * @module
 */
import { Prefix } from "../../../ip/mod.ts";
import { openEmbedded } from "../../testing/open_lab.ts";

if (import.meta.main) {
  const [path, round] = Deno.args;
  const store = await openEmbedded({ kind: "embedded", path: path! }, { owner: true });
  const output = new TextEncoder();
  for (let i = 0; i < 65_536; i++) {
    const subnet = new Prefix((10 * 2 ** 24) + (Number(round) * 2 ** 20) + i * 16, 28);
    const lease = await store.createLease(subnet, { publicIP: i }, 600);
    Deno.stdout.writeSync(output.encode(`${lease.subnet}\n`));
  }
}

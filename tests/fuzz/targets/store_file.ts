import { assert } from "@std/assert";
import fc from "fast-check";
import { configureLog } from "../../../mod/observe/log/log.ts";
import { openEmbedded } from "../../../mod/store/testing/open_lab.ts";
import { StoreError } from "../../../mod/store/errors.ts";
import { net, record, vxlan } from "../../../mod/store/testing/store_lab.ts";
import { libc } from "../../../mod/sys/mod.ts";
import { type FuzzTarget, refusingAsync } from "../target.ts";

/** Damage to the file, or to its log. */
interface Damage {
  readonly file: "leases.db" | "leases.db-wal";
  /** Shares of the file in millionths: where bytes are changed, and by what (XOR). */
  readonly flips: readonly { readonly at: number; readonly by: number }[];
  /** A range that is filled, as of a page that was never written. */
  readonly fill?: { readonly at: number; readonly length: number; readonly value: number };
  /** Remaining part of the file, in millionths. */
  readonly cut?: number;
}

const share = fc.nat(999_999);
const LEASES = Array.from({ length: 60 }, (_, i) => `10.73.${i + 1}.0/24`);

/** Written to the damaged file, where that opens. */
const OTHER = "10.73.200.0/24";

/** Writes a store as an agent does, and copies it while its log has not been written back. */
async function writeStore(directory: string): Promise<Map<string, Uint8Array>> {
  const path = `${directory}/leases.db`;
  const options = { kind: "embedded", path, seed: '{"Network":"10.73.0.0/16"}' } as const;
  {
    await using store = await openEmbedded(options, { owner: true });
    for (const lease of LEASES.slice(0, 40)) {
      await store.createLease(net(lease), vxlan("192.0.2.7"), 86_400);
    }
  }
  await using store = await openEmbedded(options, { owner: true });
  for (const lease of LEASES.slice(40)) {
    await store.createLease(net(lease), vxlan("192.0.2.8"), 86_400);
  }
  await store.putNodeRecord?.(0xc0000207, record("host1"), 60, undefined);
  const copies = new Map<string, Uint8Array>();
  for (const name of ["leases.db", "leases.db-wal"]) {
    copies.set(name, await Deno.readFile(`${directory}/${name}`));
  }
  return copies;
}

function damaged(bytes: Uint8Array, { flips, fill, cut }: Damage): Uint8Array {
  const copy = bytes.slice();
  const offset = (at: number) => Math.floor(copy.length * at / 1_000_000);
  for (const { at, by } of flips) if (copy.length > 0) copy[offset(at)]! ^= by;
  if (fill !== undefined) copy.fill(fill.value, offset(fill.at), offset(fill.at) + fill.length);
  return cut === undefined ? copy : copy.subarray(0, offset(cut));
}

/**
 * A damaged file of the embedded store opens with leases that were written, or is refused with one line that names it.
 */
export const storeFile: FuzzTarget<Damage> = {
  name: "store_file",
  seeds: [
    { file: "leases.db", flips: [] },
    { file: "leases.db", flips: [], cut: 0 },
    { file: "leases.db", flips: [], cut: 500_000 },
    { file: "leases.db", flips: [{ at: 300_000, by: 255 }] },
    { file: "leases.db", flips: [], fill: { at: 400_000, length: 4096, value: 0 } },
    { file: "leases.db-wal", flips: [], cut: 700_000 },
    { file: "leases.db-wal", flips: [{ at: 10, by: 1 }] },
    // Bytes of the header: page size, versions, encoding, application id, user version.
    ...[16, 18, 19, 47, 59, 63, 68, 71].map((at): Damage => ({
      file: "leases.db",
      flips: [{ at: at * 20, by: 3 }],
    })),
  ],
  inputs: fc.record({
    file: fc.constantFrom("leases.db", "leases.db", "leases.db-wal"),
    flips: fc.array(
      fc.record({ at: fc.oneof(share, fc.nat(3000)), by: fc.integer({ min: 1, max: 255 }) }),
      { maxLength: 8 },
    ),
    fill: fc.record({
      at: share,
      length: fc.constantFrom(1, 8, 100, 4096, 8192),
      value: fc.constantFrom(0, 1, 13, 255),
    }),
    cut: share,
  }, { requiredKeys: ["file", "flips"] }),
  start: async (stack) => {
    libc();
    const before = configureLog({ format: "glog", write: () => {} });
    stack.defer(() => void configureLog(before));
    const made = await Deno.makeTempDir({ prefix: "fuzz-store-" });
    stack.defer(() => Deno.remove(made, { recursive: true }));
    const copies = await writeStore(made);
    const written = new Set([...LEASES, OTHER]);
    let number = 0;
    return async (damage) => {
      const directory = `${made}/${number++}`;
      await Deno.mkdir(directory);
      const path = `${directory}/leases.db`;
      try {
        for (const [name, bytes] of copies) {
          const isIt = name === damage.file;
          await Deno.writeFile(`${directory}/${name}`, isIt ? damaged(bytes, damage) : bytes);
        }
        for (const owner of [false, true]) {
          await refusingAsync([StoreError], async () => {
            try {
              await use(path, owner, written);
            } catch (error) {
              if (error instanceof StoreError) {
                assert(!error.message.includes("\n"), error.message);
                assert(error.message.includes(path), `no path in: ${error.message}`);
              }
              throw error;
            }
          });
        }
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
    };
  },
};

async function use(path: string, owner: boolean, written: ReadonlySet<string>): Promise<void> {
  await using store = await openEmbedded({ kind: "embedded", path }, { owner });
  const { leases } = await store.snapshot();
  // Every entry that passes the check of an owner's file was written before.
  if (owner) { for (const { subnet } of leases) assert(written.has(`${subnet}`), `${subnet}`); }
  const other = leases.find(({ subnet }) => `${subnet}` === OTHER);
  if (other === undefined) await store.createLease(net(OTHER), vxlan("192.0.2.9"), 60);
  else await store.updateLease(other, vxlan("192.0.2.9"), 60);
  assert(await store.lease(net(OTHER)) !== undefined);
}

import { assert, assertEquals } from "@std/assert";
import { Prefix } from "../../../mod/ip/mod.ts";
import { bucketOf, tableLayout, Word } from "./table_layout.ts";

Deno.test("tableLayout() separates the tables, for any network", () => {
  const networks: [string, number][] = [
    ["10.40.0.0/16", 24],
    ["10.40.0.0/16", 16],
    ["10.0.0.0/8", 24],
    ["10.0.0.0/8", 31],
    ["192.168.1.0/24", 28],
    ["192.168.1.0/28", 31],
    ["0.0.0.0/0", 24],
  ];
  for (const [text, subnetLen] of networks) {
    const network = Prefix.parse(text)!;
    const layout = tableLayout(network, subnetLen);
    const offset = network.size - 1;
    const ends = [
      ["coarse", layout.coarse, offset >>> layout.coarseShift],
      ["fine", layout.fine, offset >>> layout.fineShift],
      ["address", layout.address, layout.capacity],
      ["next", layout.next, layout.capacity],
    ] as const;
    let free: number = Word.Size;
    for (const [what, start, last] of ends) {
      assert(start >= free, `${what} of ${text} begins in the table before`);
      free = start + last + 1;
    }
    for (const address of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xac1c8064]) {
      const bucket = bucketOf(layout, address);
      assert(bucket >= free && bucket < layout.size, `bucket ${bucket} of ${text}`);
    }
    assert(layout.longest >= subnetLen && layout.longest <= 31);
  }
});

Deno.test("tableLayout() routes single addresses in networks of /8 and longer", () => {
  assertEquals(tableLayout(Prefix.parse("10.0.0.0/8")!, 24).longest, 31);
  assertEquals(tableLayout(Prefix.parse("10.0.0.0/7")!, 24).longest, 30);
});

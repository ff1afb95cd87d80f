import { assertEquals } from "@std/assert";
import { describeConfigPlace, withNetwork } from "./options.ts";

Deno.test("describeConfigPlace() names the fix that works: -network is for a file of one network", () => {
  const file = { kind: "embedded", path: "/var/lib/l.db" } as const;
  assertEquals(
    describeConfigPlace(file, "the file"),
    "it is looked for in the file; give -network, for example -network=10.20.0.0/16, to have it " +
      "written there",
  );
  assertEquals(
    describeConfigPlace(withNetwork(file, "blue"), "the file"),
    "it is looked for in the file; write it, for example: flanneld config set " +
      '-store=embedded=/var/lib/l.db -networks=blue \'{"Network": "10.20.0.0/16"}\'',
  );
});

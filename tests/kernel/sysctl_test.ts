import { assertEquals } from "@std/assert";
import { readSysctl } from "../../mod/host/mod.ts";
import { Lab } from "../lab/lab.ts";

const SCRIPT = `
  import { readSysctl, writeSysctl } from ${
  JSON.stringify(import.meta.resolve("../../mod/host/sysctl.ts"))
};
  const parameter = "net/ipv4/conf/eth1/rp_filter";
  console.log(JSON.stringify([
    readSysctl(parameter),
    writeSysctl(parameter, 2),
    readSysctl(parameter),
    writeSysctl(parameter, 2),
    readSysctl("net/ipv4/conf/nope/rp_filter") ?? "absent",
  ]));
`;

Deno.test("writeSysctl() sets what belongs to its network namespace, and nothing outside", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const host = lab.host("host100");
  const outside = readSysctl("net/ipv4/conf/default/rp_filter");
  // A new namespace takes over the machine's own value.
  await host.exec(["sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/eth1/rp_filter"]);
  const output = await host.exec([Deno.execPath(), "run", "-A", "--no-check", "-"], {
    stdin: SCRIPT,
  });
  assertEquals(JSON.parse(output), ["0", true, "2", false, "absent"]);
  assertEquals(await host.exec(["cat", "/proc/sys/net/ipv4/conf/eth1/rp_filter"]), "2\n");
  assertEquals(readSysctl("net/ipv4/conf/default/rp_filter"), outside);
});

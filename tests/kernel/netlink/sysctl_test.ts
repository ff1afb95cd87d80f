import { assertEquals } from "@std/assert";
import { Lab } from "../../lab/lab.ts";

const SCRIPT = `
  import { readSysctl } from ${JSON.stringify(import.meta.resolve("../../../mod/host/sysctl.ts"))};
  console.log(JSON.stringify([
    readSysctl("net/ipv4/conf/eth1/rp_filter"),
    readSysctl("net/ipv4/conf/nope/rp_filter") ?? "absent",
  ]));
`;

Deno.test("readSysctl() reads what belongs to its network namespace", async () => {
  await using lab = await Lab.start({ hosts: 1 });
  const host = lab.host("host100");
  const read = async () =>
    JSON.parse(
      await host.exec([Deno.execPath(), "run", "-A", "--no-check", "-"], { stdin: SCRIPT }),
    );
  for (const value of ["0", "2"]) {
    await host.exec(["sh", "-c", `echo ${value} > /proc/sys/net/ipv4/conf/eth1/rp_filter`]);
    assertEquals(await read(), [value, "absent"]);
  }
});

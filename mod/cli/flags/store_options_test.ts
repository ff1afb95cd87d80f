import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import type { StoreOptions } from "../../store/options.ts";
import { UsageError } from "../errors.ts";
import { parseCommandLine } from "./parse.ts";

function storeOf(...args: string[]): StoreOptions {
  const line = parseCommandLine(args, {});
  if (line.command !== "agent") throw new Error(line.command);
  return line.agent.options.store;
}

const refused = (...args: string[]) => assertThrows(() => storeOf(...args), UsageError).message;

Deno.test("storeOptions() selects etcd by default", () => {
  assertEquals(storeOf().kind, "etcd");
  assertEquals(storeOf("-store=etcd", "-etcd-api=v2").kind, "etcd");
});

Deno.test("storeOptions() takes a file, at its default path or another", () => {
  assertEquals(storeOf("-store", "embedded"), {
    kind: "embedded",
    path: "/var/lib/flannel/leases.db",
  });
  assertEquals(storeOf("-store=embedded=/data/a=b.db"), {
    kind: "embedded",
    path: "/data/a=b.db",
  });
});

Deno.test("storeOptions() makes a config of -network, -subnet-len and -backend", () => {
  const seed = (...args: string[]) => {
    const store = storeOf("-store=embedded", ...args);
    return store.kind === "embedded" ? store.seed : store.kind;
  };
  assertEquals(seed("-network=10.20.0.0/16"), '{"Network":"10.20.0.0/16"}');
  assertEquals(
    seed("-network=10.20.7.9/16", "-subnet-len=26", "-backend=vxlan"),
    '{"Network":"10.20.0.0/16","SubnetLen":26,"Backend":{"Type":"vxlan"}}',
  );
  assertEquals(
    seed("-network=10.20.0.0/16", '-backend={"Type": "vxlan", "VNI": 7}'),
    '{"Network":"10.20.0.0/16","Backend":{"Type":"vxlan","VNI":7}}',
  );
});

Deno.test("storeOptions() describes the right value", () => {
  for (const store of ["", "sqlite", "etcd=x", "embeddedx", "EMBEDDED"]) {
    assertStringIncludes(refused(`-store=${store}`), "expected etcd, embedded or embedded=PATH");
  }
  for (const path of ["", "/", "/var/lib/", ".."]) {
    assertStringIncludes(refused(`-store=embedded=${path}`), "such as /var/lib/flannel/leases.db");
  }
  const embedded = "-store=embedded";
  assertStringIncludes(refused(embedded, "-network=10.20"), "such as 10.20.0.0/16");
  assertStringIncludes(refused(embedded, "-backend=vxlan"), "give -network too");
  assertStringIncludes(refused(embedded, "-subnet-len=26"), "give -network");
  for (const backend of ["[]", "{", "7", "vx lan"]) {
    const message = refused(embedded, "-network=10.20.0.0/16", `-backend=${backend}`);
    assertStringIncludes(message, '{"Type":"vxlan","VNI":7}');
  }
});

Deno.test("storeOptions() refuses a config for other stores than embedded", () => {
  const advice =
    "it goes with -store embedded; 'flanneld config set' writes the config of other stores";
  for (const store of ["-store=etcd", "-remote=172.28.128.100:8888"]) {
    assertStringIncludes(refused(store, "-network=10.20.0.0/16"), advice);
    assertStringIncludes(refused(store, "-backend=vxlan"), advice);
  }
});

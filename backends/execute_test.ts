import { assertEquals } from "@std/assert";
import { captureLog } from "../mod/observe/testing/log_lab.ts";
import { net } from "../mod/store/testing/store_lab.ts";
import { Errno, type Operation, SysError } from "../mod/sys/mod.ts";
import { RT_SCOPE_UNIVERSE, RT_TABLE_MAIN } from "../mod/sys/linux_constants.ts";
import { execute } from "./execute.ts";
import { RTPROT_FLANNEL } from "./reconcile.ts";
import { recordingContext } from "./testing/unit_kit.ts";

function route(octet: number): Operation {
  const object = {
    ...{ destination: net(`10.20.${octet}.0/24`), oif: 7, onlink: false, metric: 0 },
    ...{ protocol: RTPROT_FLANNEL, scope: RT_SCOPE_UNIVERSE, table: RT_TABLE_MAIN },
  };
  return { op: "add", kind: "route", object };
}

Deno.test("execute() counts all refusals, and warns of those with an interface", async () => {
  const { netlink } = await recordingContext({ Type: "host-gw" });
  const refuse = (operations: readonly Operation[], errno: (index: number) => number) => {
    const failures = operations.map((operation, index) => ({
      operation,
      error: new SysError("RTM_NEWROUTE", errno(index)),
    }));
    netlink.execute = () => ({ applied: 0, failures, systemCalls: 1 });
    using log = captureLog();
    const refused = execute(netlink, operations, "change");
    return [refused, ...log.lines.map((line) => line.replace(/^(.).*\] /, "$1 "))];
  };
  const routes = [1, 2, 3, 4, 5].map(route);

  assertEquals(refuse(routes.slice(0, 2), () => Errno.ENODEV), [
    2,
    "I change: the interface of 2 kernel objects is gone",
  ]);
  const unreachable = "W RTM_NEWROUTE: ENETUNREACH: network is unreachable";
  assertEquals(refuse(routes, (index) => index === 0 ? Errno.ENODEV : Errno.ENETUNREACH), [
    5,
    "I change: the interface of 1 kernel object is gone",
    ...[unreachable, unreachable, unreachable],
    "W ... and 1 more such errors",
  ]);
});

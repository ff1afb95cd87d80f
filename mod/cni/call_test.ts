import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { isInterfaceName, isName, readCall } from "./call.ts";
import { CniError } from "./errors.ts";
import { pluginCalled } from "./plugin_call.ts";

const ADD = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "c1",
  CNI_NETNS: "/run/netns/c1",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/opt/cni/bin::/usr/lib/cni",
};

const read = (environment: Record<string, string>) => readCall((name) => environment[name]);

Deno.test("readCall() reads the environment", () => {
  assertEquals(read(ADD), {
    ...{ command: "ADD", containerID: "c1", netns: "/run/netns/c1", ifname: "eth0" },
    path: ["/opt/cni/bin", "/usr/lib/cni"],
  });
});

Deno.test("readCall() names all variables that are missing", () => {
  const error = assertThrows(() => read({ CNI_COMMAND: "DEL" }), CniError);
  assertEquals([error.code, error.message], [4, "DEL needs CNI_CONTAINERID, CNI_IFNAME"]);
  assertEquals(read({ CNI_COMMAND: "GC" }).command, "GC");
});

Deno.test("isName() accepts nothing that leaves a directory", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    if (isName(text)) assertEquals([text.includes("/"), text.startsWith(".")], [false, false]);
  }));
  assertEquals(["a", "0_.-", "a..b"].map(isName), [true, true, true]);
  assertEquals(["", ".", "..", "-a", "a/b", "a\n", "ä"].map(isName), Array(7).fill(false));
});

Deno.test("isInterfaceName() is the kernel's rule", () => {
  assertEquals(["eth0", "a.b", "123456789012345"].map(isInterfaceName), [true, true, true]);
  for (const name of ["", ".", "..", "a b", "a/b", "a:b", "1234567890123456", "ääääääää", "a\0"]) {
    assertEquals(isInterfaceName(name), false, name);
  }
});

Deno.test("pluginCalled() compares the base name of the program, and the first argument", () => {
  for (const line of ["flannel", "/opt/cni/bin/flannel\0", "./flannel\0-x\0info\0"]) {
    assertEquals(pluginCalled(line), "cni", line);
  }
  for (const line of ["flannel\0info\0", "/usr/lib/netavark/flannel\0setup\0/run/netns/c1\0"]) {
    assertEquals(pluginCalled(line), "netavark", line);
  }
  for (const line of ["", "flanneld\0info\0", "/opt/flannel/flanneld\0", "deno\0flannel\0"]) {
    assertEquals(pluginCalled(line), undefined, line);
  }
});

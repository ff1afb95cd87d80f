// Errors of the plugin `flannel`: one JSON object on standard output, exit code 1, nothing left behind.

import { assertEquals, assertMatch } from "@std/assert";
import { CniLab, type LabCall } from "./cni_lab.ts";

Deno.test("a bad call ends with one CNI error object, and leaves nothing behind", async () => {
  await using lab = await CniLab.create();
  const container = await lab.container();
  const add: LabCall = { command: "ADD", container };
  const withConfig = (more: Record<string, unknown>): LabCall => ({
    ...add,
    config: lab.config(more),
  });
  const cases: readonly (readonly [LabCall, number, RegExp])[] = [
    [{ ...add, command: "ATTACH" }, 4, /^unknown CNI_COMMAND "ATTACH"$/],
    [{ ...add, container: undefined }, 4, /^ADD needs CNI_NETNS$/],
    [{ ...add, id: "../c1" }, 4, /^invalid CNI_CONTAINERID "\.\.\/c1"$/],
    [{ ...add, ifname: "a-name-of-16-byte" }, 4, /^invalid CNI_IFNAME /],
    [{ ...add, input: "" }, 6, /not JSON$/],
    [{ ...add, input: "{" }, 6, /not JSON$/],
    [{ ...add, input: "[]" }, 6, /not a JSON object$/],
    [withConfig({ cniVersion: "9.0.0" }), 1, /^unsupported cniVersion "9\.0\.0"$/],
    [withConfig({ cniVersion: undefined }), 1, /^unsupported cniVersion "0\.1\.0"$/],
    [{ ...withConfig({ cniVersion: "0.3.1" }), command: "CHECK" }, 1, /0\.3\.1 has no CHECK$/],
    [{ ...withConfig({ cniVersion: "1.0.0" }), command: "GC" }, 1, /1\.0\.0 has no GC$/],
    [withConfig({ name: "a/b" }), 7, /^invalid name "a\/b"$/],
    [withConfig({ subnetFile: "subnet.env" }), 7, /^subnetFile is not an absolute path/],
    [withConfig({ delegate: [] }), 7, /^delegate is not an object$/],
    [withConfig({ delegate: { ipam: {} } }), 7, /'delegate' must not have ipam$/],
    [withConfig({ delegate: { type: "../bridge" } }), 7, /^delegate\.type is no name/],
    [withConfig({ delegate: { type: "nosuch" } }), 103, /^no plugin "nosuch" in CNI_PATH$/],
    [withConfig({ subnetFile: "/nonexistent" }), 11, /this host has no lease yet$/],
    [
      { ...withConfig({ subnetFile: "/nonexistent", cniVersion: "1.1.0" }), command: "STATUS" },
      ...[50, /this host has no lease yet$/] as const,
    ],
    [{ ...withConfig({ cniVersion: "1.1.0" }), command: "GC" }, 7, /valid-attachments is missing/],
    [{ ...add, command: "CHECK" }, 7, /^prevResult is missing$/],
  ];
  for (const [call, code, message] of cases) {
    const answer = await lab.call(call);
    assertEquals([answer.code, answer.output.code], [1, code], JSON.stringify(answer));
    assertMatch(answer.output.msg, message);
    assertEquals(answer.stderr, "");
  }
  assertEquals([await lab.links(), lab.files(lab.dataDir), lab.leased()], [[], [], []]);
});

Deno.test("ADD refuses a namespace that is missing, or the host's", async () => {
  await using lab = await CniLab.create();
  const container = await lab.container();
  await lab.remove(container);
  const missing = await lab.call({ command: "ADD", container });
  assertEquals([missing.code, missing.output.code], [1, 3]);
  const host = await lab.call({ command: "ADD", container: lab.host });
  assertEquals([host.code, host.output.code], [1, 8]);
});

Deno.test("VERSION lists the versions of the specification", async () => {
  await using lab = await CniLab.create();
  const { code, output } = await lab.call({
    command: "VERSION",
    input: '{"cniVersion":"0.4.0"}',
  });
  assertEquals([code, output], [0, {
    cniVersion: "0.4.0",
    supportedVersions: ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
  }]);
});

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { hostnameOf, ownHostNames } from "./host_names.ts";

Deno.test("hostnameOf() reads names and addresses, with and without a port", () => {
  const cases = [
    ["host100", "host100", false],
    ["Host100.Example.:8888", "host100.example", false],
    ["172.28.128.100:8888", "172.28.128.100", true],
    ["[FD00::1]:8888", "fd00::1", true],
    ["[::1]", "::1", true],
  ] as const;
  for (const [authority, text, isAddress] of cases) {
    assertEquals(hostnameOf(authority), { text, isAddress }, authority);
  }
  for (const other of ["", "a b", "a,b", "user@host", "::1", "[::1", "host:x", "a/b", ":8888"]) {
    assertEquals(hostnameOf(other), undefined, other);
  }
});

Deno.test("hostnameOf() takes a name apart that it has put together, and throws for nothing", () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}(\.[a-z0-9]{1,5}){0,3}$/);
  fc.assert(fc.property(name, fc.nat(65_535), (text, port) => {
    assertEquals(hostnameOf(`${text}:${port}`), { text, isAddress: false });
  }));
  fc.assert(fc.property(fc.string(), (text) => void hostnameOf(text)));
});

Deno.test("ownHostNames() collects the names of this host's addresses, and none that others can have", async () => {
  const directory = await Deno.makeTempDir({ prefix: "names-" });
  const files = { hosts: `${directory}/hosts`, resolver: `${directory}/resolv.conf` };
  try {
    const address = Deno.networkInterfaces().find(({ family }) => family === "IPv4")!.address;
    await Deno.writeTextFile(
      files.hosts,
      `127.0.1.1\tDebian.example debian # own\n${address} mine\n198.51.100.7 other\n# 127.0.0.1 no\n`,
    );
    await Deno.writeTextFile(
      files.resolver,
      "nameserver 198.51.100.1\nsearch lan.example x.test\n",
    );
    const names = await ownHostNames(["leases.example"], files);
    const short = Deno.hostname().toLowerCase().split(".")[0]!;
    const expected = ["localhost", Deno.hostname().toLowerCase(), "debian.example", "debian"];
    expected.push("mine", "leases.example", `${short}.lan.example`, `${short}.x.test`);
    for (const name of expected) assert(names.has(name), `${name}: ${[...names]}`);
    for (const name of ["other", "no", "198.51.100.1", ""]) assert(!names.has(name), name);
    // A host may have neither file.
    const none = await ownHostNames([], { hosts: "/none", resolver: "/none" });
    assert(none.has("localhost"));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

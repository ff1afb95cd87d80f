import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { makeCertificates } from "../../lab/certificates.ts";
import { Lab, type UnderlayHost } from "../../lab/lab.ts";
import { LabEtcd } from "../../lab/etcd/lab_etcd.ts";
import { lostReplies } from "../../lab/lost_replies.ts";
import { FLANNELD, LabUnit } from "../../lab/unit.ts";
import { CONFIG, eventually, isFullMesh, leaseKeys, overlayAddress, PREFIX } from "../guide.ts";

const PORT = 8890;

async function configure(host: UnderlayHost, options: string): Promise<void> {
  await host.writeTextFile("/etc/sysconfig/flanneld", `FLANNEL_OPTIONS="${options}"\n`);
}

Deno.test("flanneld serves etcd's leases over TLS to clients with a certificate", async (t) => {
  await using lab = await Lab.start({ hosts: 3 });
  await using stack = new AsyncDisposableStack();
  const [server, here, there] = lab.hosts as [UnderlayHost, UnderlayHost, UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(server));
  await etcd.set("v2", `${PREFIX}/config`, CONFIG);
  const directory = await Deno.makeTempDir({ prefix: "certificates-" });
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  const files = await makeCertificates(directory, [server.address]);
  const tls = (pair: { cert: string; key: string }, ca = files.ca) =>
    `-remote-cafile=${ca} -remote-certfile=${pair.cert} -remote-keyfile=${pair.key}`;

  await configure(
    server,
    `-etcd-endpoints=${etcd.endpoint} -etcd-prefix=${PREFIX} ` +
      `-listen=${server.address}:${PORT} ${tls(files.server)}`,
  );
  let serving = stack.use(await LabUnit.start(server));
  assert(serving.notifications.includes("READY=1"));
  for (const host of [here, there]) {
    await configure(host, `-iface=eth1 -remote=${server.address}:${PORT} ${tls(files.client)}`);
    stack.use(await LabUnit.start(host));
  }

  await t.step("the clients reach each other, and the server has taken no lease", async () => {
    await eventually("a full mesh", () => isFullMesh([here, there]));
    await serving.process.waitFor(
      /PUT \/v1\/_\/store\/subnets\/\S+ - 200 \(172\.28\.128\.\d+, certificate \/CN=client\)/,
    );
    assertEquals((await leaseKeys(etcd, "v2")).length, 2);
  });

  await t.step("a server that is killed costs neither packets nor leases", async () => {
    const target = await overlayAddress(there);
    const before = await leaseKeys(etcd, "v2");
    const lost = await lostReplies(here, target, async () => {
      await serving.kill();
      await new Promise((resolve) => setTimeout(resolve, 500));
      serving = stack.use(await LabUnit.start(server));
    });
    assertEquals(lost, 0);
    assertEquals(await leaseKeys(etcd, "v2"), before);
    // A lease that comes to etcd now is seen by those who had to connect again.
    const peer = '{"PublicIP":"172.28.128.200","BackendType":"vxlan",' +
      '"BackendData":{"VtepMAC":"02:00:00:00:02:00"}}';
    await etcd.set("v2", `${PREFIX}/subnets/10.20.250.0-24`, peer);
    await eventually(
      "a route to the new peer",
      async () => (await here.exec(["ip", "route"])).includes("10.20.250.0/24"),
      12_000,
    );
  });

  await t.step("a wrong client certificate gives one line that names the flag", async () => {
    // Options that are not given here would come from the environment, or from the agent.
    await configure(here, "-iface=eth1");
    const bare = "-sysconfig=/etc/sysconfig/flanneld";
    const stranger = { cert: files.otherCa, key: files.otherCa.replace(".pem", "-key.pem") };
    for (
      const [flags, words] of [
        [tls(stranger), "-remote-certfile"],
        [`-remote-cafile=${files.ca}`, "-remote-certfile"],
        [tls(files.client, files.otherCa), "-remote-cafile"],
      ] as const
    ) {
      const place = [bare, `-remote=${server.address}:${PORT}`];
      const args = ["lease", "list", ...place, ...flags.split(" ")];
      const { code, stdout, stderr } = await here.run([FLANNELD, ...args]);
      assertEquals(code, 1, `${flags}: ${stdout}${stderr}`);
      assertStringIncludes(stderr, words);
      assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
    }
    // The server's log has the same reasons, each with the client's address.
    for (const reason of ["certificate verify failed", "not return a certificate", "unknown ca"]) {
      const line = new RegExp(`^W.*TLS handshake with ${here.address} failed: .*${reason}`, "m");
      await serving.process.waitFor(line);
    }
  });
});

Deno.test("flanneld -listen=fd:// serves on the sockets that systemd has opened, by their numbers", async () => {
  await using lab = await Lab.start({ hosts: 2 });
  await using stack = new AsyncDisposableStack();
  const [server, client] = lab.hosts as [UnderlayHost, UnderlayHost];
  const etcd = stack.use(await LabEtcd.start(server));
  await etcd.set("v2", `${PREFIX}/config`, CONFIG);
  // fd://4 is the second of the sockets, which begin at 3 (sd_listen_fds(3)).
  for (const [listen, port] of [["fd://", PORT], ["fd://4", PORT + 1]] as const) {
    const sockets = [PORT, PORT + 1].flatMap((number) => ["-l", `${server.address}:${number}`]);
    await using process = await server.spawn([
      ...["systemd-socket-activate", ...sockets],
      ...[FLANNELD, `-etcd-endpoints=${etcd.endpoint}`, `-etcd-prefix=${PREFIX}`],
      `-listen=${listen}`,
      "-listen-allow-unauthenticated",
    ]);
    await process.waitFor(/Listening on/);
    assert(!process.output.includes("running as server"), "it is started by the first client");
    // That client waits in the socket's queue until the server serves.
    const args = ["lease", "list", `-remote=${server.address}:${port}`];
    const { code, stdout, stderr } = await client.run([FLANNELD, ...args]);
    assertEquals([code, stderr], [0, ""], process.output);
    assertStringIncludes(stdout, "SUBNET");
    assertStringIncludes(process.output, "running as server");
  }
});

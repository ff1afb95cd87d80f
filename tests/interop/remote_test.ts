import { assert, assertEquals, assertMatch } from "@std/assert";
import { PERMANENT } from "../../mod/lease/mod.ts";
import { serveLeases } from "../../mod/server/mod.ts";
import { makeEmbeddedLab } from "../../mod/store/testing/embedded_lab.ts";
import { openRemote } from "../../mod/store/testing/open_lab.ts";
import { ip, net, record, vxlan } from "../../mod/store/testing/store_lab.ts";
import { libc } from "../../mod/sys/mod.ts";
import { StoreFollower } from "../lab/store_follower.ts";
import { askAsFlannel, RawServer } from "./remote_raw.ts";

// Deno 2.4 takes a library that stays open for a leak of the test that opened it.
libc();

const JSON_TYPE = "application/json; charset=utf-8";
const ATTRS = '{"PublicIP":"172.28.128.101","BackendType":"vxlan",' +
  '"BackendData":{"VtepMAC":"c6:8a:3d:5f:56:2e"}}';
const TOKEN = "0123456789abcdef0123456789abcdef";
const LATER = "2099-11-25T16:54:06.123456789Z";

Deno.test("a flannel 0.7.1 as client is answered byte for byte", async (t) => {
  await using lab = makeEmbeddedLab();
  await lab.put("/_/config", ' {"Network": "10.73.0.0/16", "Backend": {"Type": "vxlan"}}');
  await using store = await lab.open("/_");
  const stop = new AbortController();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = serveLeases({
    connections: listener,
    networks: { open: (network) => lab.open(`/${network}`) },
    token: TOKEN,
    limits: { body: 4096, connections: 8, arrival: 300 },
    polls: 2,
    signal: stop.signal,
  });
  const { port } = listener.addr;
  const ask = (method: string, target: string, body?: string) =>
    askAsFlannel(port, method, target, body, { Authorization: `Bearer ${TOKEN}` });
  let key = "", leaseText = "", cursor = "";

  await t.step("GET config", async () => {
    assertEquals(await ask("GET", "/v1/_/config"), {
      status: 200,
      contentType: JSON_TYPE,
      body: '{"Network":"10.73.0.0/16","SubnetMin":"10.73.1.0","SubnetMax":"10.73.255.0",' +
        '"SubnetLen":24,"Backend":{"Type":"vxlan"}}\n',
    });
    const missing = await ask("GET", "/v1/blue/config");
    assertEquals([missing.status, missing.contentType], [500, "text/plain; charset=utf-8"]);
  });

  await t.step("POST leases gives a subnet, and the same one to the same public IP", async () => {
    const { status, body } = await ask("POST", "/v1/_/leases", ATTRS);
    assertEquals(status, 200);
    const match = /^(\{"Subnet":"(10\.73\.\d+\.0)\/24","Attrs":(.*),"Expiration":"(.*)"\})\n$/
      .exec(body)!;
    assertEquals(match[3], ATTRS);
    assertMatch(match[4]!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
    const left = Date.parse(match[4]!) - Date.now();
    assert(left > 86_390_000 && left <= 86_400_000, `${left} ms`);
    [leaseText, key] = [match[1]!, `${match[2]}-24`];
    assert((await ask("POST", "/v1/_/leases", ATTRS)).body.includes(`"${match[2]}/24"`));
  });

  await t.step("GET leases shows all, and a poll what comes next", async () => {
    const { body } = await ask("GET", "/v1/_/leases");
    const match = /^\{"events":null,"snapshot":\[(.*)\],"cursor":"(.*)"\}\n$/.exec(body)!;
    assert(match[1]!.startsWith(leaseText.slice(0, leaseText.indexOf('"Expiration"'))), body);
    cursor = match[2]!;
    const polling = ask("GET", `/v1/_/leases?next=${cursor}`);
    const created = await store.createLease(net("10.73.200.0/24"), vxlan("192.0.2.9"), 600);
    const added = (await polling).body;
    assertMatch(
      added,
      /^\{"events":\[\{"type":"added","lease":\{"Subnet":"10\.73\.200\.0\/24",.*\}\}\],"snapshot":null,"cursor":".*"\}\n$/,
    );
    const next = /"cursor":"(.*)"/.exec(added)![1];
    await store.removeLease(created);
    const removed = (await ask("GET", `/v1/_/leases?next=${next}`)).body;
    // With what was known of it: 0.7.1 programs by that.
    assert(removed.includes('{"type":"removed","lease":{"Subnet":"10.73.200.0/24","Attrs":'));
    assert(removed.includes('"PublicIP":"192.0.2.9"'), removed);
  });

  await t.step("a cursor of a former server is answered with a snapshot", async () => {
    for (const stranger of ["33", "deadbeef.7", ""]) {
      const { body } = await ask("GET", `/v1/_/leases?next=${stranger}`);
      assert(body.startsWith('{"events":null,"snapshot":[{"Subnet"'), body);
    }
  });

  await t.step("PUT renews, and does not take another host's subnet", async () => {
    const renewed = await ask("PUT", `/v1/_/leases/${key}`, leaseText);
    assertEquals(renewed.status, 200);
    assert(renewed.body.startsWith(leaseText.slice(0, leaseText.indexOf('"Expiration"'))));
    const stolen = leaseText.replace("172.28.128.101", "172.28.128.102");
    const refused = await ask("PUT", `/v1/_/leases/${key}`, stolen);
    assertEquals([refused.status, refused.contentType], [500, "text/plain; charset=utf-8"]);
    assertMatch(refused.body, /^subnet 10\.73\.\d+\.0\/24 is leased to another host, 172\.28/);
  });

  await t.step("GET leases/KEY, DELETE, and what is not there", async () => {
    const { body } = await ask("GET", `/v1/_/leases/${key}`);
    assertMatch(body, /^\{"events":null,"snapshot":\[\{"Subnet".*\}\],"cursor":".*"\}\n$/);
    const next = /"cursor":"(.*)"/.exec(body)![1];
    const polling = ask("GET", `/v1/_/leases/${key}?next=${next}`);
    assertEquals(await ask("DELETE", `/v1/_/leases/${key}`), {
      status: 200,
      contentType: "text/plain; charset=utf-8",
      body: "",
    });
    assert(
      (await polling).body.startsWith('{"events":[{"type":"removed","lease":{"Subnet":"10.73.'),
    );
    const gone = await ask("DELETE", `/v1/_/leases/${key}`);
    assertEquals([gone.status, gone.body], [
      500,
      `100: Key not found (/_/subnets/${key}) [0]`,
    ]);
    assertEquals((await ask("GET", `/v1/_/leases/${key}`)).status, 500);
    // Its holder learns that the lease is gone, not only that its cursor is.
    const late = await ask("GET", `/v1/_/leases/${key}?next=33`);
    assert(
      late.body.startsWith('{"events":[{"type":"removed","lease":{"Subnet":"10.73.'),
      late.body,
    );
  });

  await t.step("reservations, with flannel's rules and words", async () => {
    const reserve = (subnet: string, publicIP: string) =>
      ask("POST", "/v1/_/reservations", `{"Subnet":"${subnet}","PublicIP":"${publicIP}"}`);
    const words = async (subnet: string, publicIP: string) => {
      const { status, body } = await reserve(subnet, publicIP);
      return [status, body];
    };
    assertEquals(await words("10.73.9.0/25", "192.0.2.1"), [
      500,
      "internal error: reservation subnet has mask incompatible with network config",
    ]);
    assertEquals(await words("10.99.9.0/24", "192.0.2.1"), [
      500,
      "internal error: reservation subnet is outside of flannel network",
    ]);
    assertEquals(await words("10.73.9.0/24", "192.0.2.1"), [200, ""]);
    assertEquals(await words("10.73.9.0/24", "192.0.2.1"), [200, ""]);
    assertEquals(await words("10.73.9.0/24", "192.0.2.2"), [
      500,
      "internal error: subnet: lease already taken",
    ]);
    assertEquals(
      (await ask("GET", "/v1/_/reservations")).body,
      '[{"Subnet":"10.73.9.0/24","PublicIP":"192.0.2.1"}]\n',
    );
    const owner = await ask("POST", "/v1/_/leases", '{"PublicIP":"192.0.2.1"}');
    assertEquals(
      owner.body,
      '{"Subnet":"10.73.9.0/24","Attrs":{"PublicIP":"192.0.2.1"},' +
        '"Expiration":"0001-01-01T00:00:00Z"}\n',
    );
    assertEquals((await ask("DELETE", "/v1/_/reservations/10.73.9.0-24")).status, 200);
    assertEquals((await ask("GET", "/v1/_/reservations")).body, "[]\n");
  });

  await t.step("what is wrong is answered in flannel's words", async () => {
    const cases = [
      ["POST", "/v1/_/leases", "{", 400, "JSON decoding error: unexpected end of JSON input"],
      ["GET", "/v1/_/leases/10.73.1.0", undefined, 400, "bad subnet"],
      ["DELETE", "/v1/_/leases/foo", undefined, 400, "failed to parse subnet"],
      ["GET", "/v1/_/nothing", undefined, 404, "404 page not found\n"],
      ["GET", "/v2/_/config", undefined, 404, "404 page not found\n"],
      ["PATCH", "/v1/_/config", undefined, 404, "404 page not found\n"],
      ["GET", "/v1/.hidden/config", undefined, 400, "bad network name"],
      ["POST", "/v1/_/leases", "x".repeat(5000), 413, "the body is longer than 4096 bytes\n"],
    ] as const;
    for (const [method, target, text, status, body] of cases) {
      const answer = await ask(method, target, text);
      assertEquals([answer.status, answer.body], [status, body], `${method} ${target}`);
    }
  });

  await t.step("limits: polls, connections, and the time a request takes to arrive", async () => {
    const { body } = await ask("GET", "/v1/_/leases");
    const next = /"cursor":"(.*)"/.exec(body)![1];
    const held = [1, 2].map(() => ask("GET", `/v1/_/leases?next=${next}`));
    await new Promise((resolve) => setTimeout(resolve, 100));
    const third = await ask("GET", `/v1/_/leases?next=${next}`);
    assertEquals([third.status, third.body], [
      503,
      "the server holds 2 polls already; try again later\n",
    ]);
    const slow = await Deno.connect({ hostname: "127.0.0.1", port });
    await slow.write(new TextEncoder().encode("GET /v1/_/config HTTP/1.1\r\nX: "));
    const started = performance.now();
    assertEquals(await slow.read(new Uint8Array(10)), null);
    const took = performance.now() - started;
    assert(took > 200 && took < 1_500, `${took} ms`);
    slow.close();
    const idle = await Promise.all(
      Array.from({ length: 6 }, () => Deno.connect({ hostname: "127.0.0.1", port })),
    );
    await new Promise((resolve) => setTimeout(resolve, 50));
    const ninth = await ask("GET", "/v1/_/config").catch(() => undefined);
    // Turned away before it was read, so that a reset may come before the answer.
    assert(ninth === undefined || ninth.status === 503 || Number.isNaN(ninth.status));
    for (const connection of idle) connection.close();
    await store.createLease(net("10.73.77.0/24"), vxlan("192.0.2.77"), 600);
    for (const poll of held) assert((await poll).body.includes("10.73.77.0/24"));
  });

  stop.abort();
  await serving;
});

Deno.test("a flannel 0.7.1 as server is understood, and asked for no more than it has", async () => {
  const config = '{"Network":"10.73.0.0/16","SubnetMin":"10.73.1.0","SubnetMax":"10.73.255.0",' +
    '"SubnetLen":24}\n';
  const lease = (subnet: string, attrs = ATTRS, expiration = LATER) =>
    `{"Subnet":"${subnet}","Attrs":${attrs},"Expiration":"${expiration}"}`;
  const mine = lease("10.73.43.0/24");
  const reserved = lease("10.73.9.0/24", '{"PublicIP":"192.0.2.1"}', "0001-01-01T00:00:00Z");
  await using server = new RawServer((method, target) => {
    switch (`${method} ${target}`) {
      case "GET /v1/_/config":
        return [200, config];
      case "GET /v1/_/leases":
        return [200, `{"events":null,"snapshot":[${mine},${reserved}],"cursor":"33"}\n`];
      case "GET /v1/_/leases?next=33":
        return [
          200,
          `{"events":[{"type":"added","lease":${lease("10.73.44.0/24")}},` +
          `{"type":"removed","lease":${reserved}}],"snapshot":null,"cursor":"35"}\n`,
        ];
      case "GET /v1/_/leases?next=35":
        return undefined;
      case "GET /v1/_/leases/10.73.43.0-24":
        return [200, `{"events":null,"snapshot":[${mine}],"cursor":"33"}\n`];
      case "GET /v1/_/leases/10.73.50.0-24":
        return [500, "100: Key not found (/s/subnets/10.73.50.0-24) [34]"];
      case "POST /v1/_/leases":
      case "PUT /v1/_/leases/10.73.43.0-24":
        return [200, `${mine}\n`];
      case "DELETE /v1/_/leases/10.73.43.0-24":
        return [200, ""];
      default:
        return [404, "404 page not found\n"];
    }
  });
  await using store = await openRemote({ kind: "remote", servers: [server.address] });
  const snapshot = await store.snapshot();
  assertEquals(snapshot.config, { text: config.trimEnd() });
  assertEquals(snapshot.leases.map(({ subnet }) => `${subnet}`), ["10.73.43.0/24", "10.73.9.0/24"]);
  assertEquals(snapshot.leases[1]!.ttl, PERMANENT);
  assert(snapshot.leases[0]!.ttl! > 1_000_000_000);

  await using follower = await StoreFollower.start(store);
  await follower.until(({ leases }) => leases.has("10.73.44.0-24") && !leases.has("10.73.9.0-24"));
  assertEquals(follower.resyncs, 0);

  assertEquals(await store.lease(net("10.73.50.0/24")), undefined);
  const assigned = await store.assignLease!(vxlan("172.28.128.101"));
  assertEquals(`${assigned.subnet}`, "10.73.43.0/24");
  await store.updateLease(assigned, assigned.attributes, 86_400);
  await store.removeLease(assigned);
  // The server has no records: keep the node record here, so that the agent finds it.
  const kept = await store.putNodeRecord(ip("172.28.128.101"), record("host1"), 600, undefined);
  assertEquals(await store.agent(ip("172.28.128.101")), kept);

  const writes = server.requests.filter((request) => !request.startsWith("GET"));
  assertEquals(writes[0], `POST /v1/_/leases ${ATTRS}`);
  assertMatch(
    writes[1]!,
    /^PUT \/v1\/_\/leases\/10\.73\.43\.0-24 \{"Subnet":"10\.73\.43\.0\/24","Attrs":.*,"Expiration":".*Z"\}\n$/,
  );
  assertEquals(writes[2], "DELETE /v1/_/leases/10.73.43.0-24");
  assertEquals(writes.length, 3);
});

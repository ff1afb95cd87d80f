import { assert, assertEquals, assertRejects } from "@std/assert";
import { formatIPv4, parseIPv4 } from "../../mod/ip/mod.ts";
import { type EchoOutcome, measurePathMtu, Prober, probeUdpPort } from "../../mod/probe/mod.ts";
import { writeEchoRequest } from "../../mod/probe/echo_message.ts";
import { ProbeSocket } from "../../mod/probe/probe_socket.ts";
import { libc, SysError } from "../../mod/sys/mod.ts";
import { NetworkNamespace } from "../lab/netns.ts";

// Opened once for the process, as in the agent: no test's leak.
libc();

const NEAR = parseIPv4("172.28.128.101")!;
const FAR = parseIPv4("10.9.0.2")!;
const ROUTER = parseIPv4("172.28.128.101")!;
const NOWHERE = parseIPv4("172.28.128.200")!;

/** Two hosts on one wire and a third behind the second, which forwards: us, router, far. */
async function wire(stack: AsyncDisposableStack) {
  const [us, router, far] = [
    stack.use(await NetworkNamespace.create()),
    stack.use(await NetworkNamespace.create()),
    stack.use(await NetworkNamespace.create()),
  ];
  const run = async (namespace: NetworkNamespace, lines: string[]) => {
    for (const line of lines) await namespace.ip(...line.split(" "));
  };
  await run(us, [
    `link add eth1 type veth peer name eth1 netns ${router.name}`,
    "address add 172.28.128.100/24 dev eth1",
    "link set eth1 up",
    "route add 10.9.0.0/24 via 172.28.128.101",
  ]);
  await run(router, [
    `link add eth2 type veth peer name eth1 netns ${far.name}`,
    "address add 172.28.128.101/24 dev eth1",
    "address add 10.9.0.1/24 dev eth2",
    "link set eth1 up",
    "link set eth2 up",
  ]);
  await router.exec("sysctl", "-qw", "net.ipv4.ip_forward=1");
  await run(far, [
    "address add 10.9.0.2/24 dev eth1",
    "link set eth1 up",
    "route add default via 10.9.0.1",
  ]);
  return { us, router, far };
}

/** An outcome as one comparable text; round-trip times are checked on the way. */
function describe(outcome: EchoOutcome): string {
  switch (outcome.type) {
    case "reply":
      assert(outcome.rtt > 0 && outcome.rtt < 500, `${outcome.rtt} ms`);
      return "reply";
    case "unreachable":
      return outcome.words;
    case "too-big":
      return `too big ${outcome.mtu} by ${
        outcome.by === undefined ? "us" : formatIPv4(outcome.by)
      }`;
    case "not-sent":
      return `not sent ${outcome.error.code}`;
    case "timeout":
      return "timeout";
  }
}

Deno.test("Prober.echo() returns the outcome of each ICMP echo request", async () => {
  await using stack = new AsyncDisposableStack();
  const { us, router, far } = await wire(stack);
  const prober = stack.use(Prober.open({ netns: us.path }));
  const echo = async (...args: Parameters<Prober["echo"]>) =>
    (await prober.echo(...args)).map(describe);
  const timeout = 300;

  assertEquals(await echo([NEAR, FAR, NOWHERE, NEAR], { timeout }), [
    ...["reply", "reply", "timeout", "reply"],
  ]);
  assertEquals(await echo([]), []);
  // No route, and a rule of our own firewall.
  assertEquals(await echo([parseIPv4("8.8.8.8")!], { timeout }), ["not sent ENETUNREACH"]);
  await us.exec("nft", "add table ip t; add chain ip t o { type filter hook output priority 0; }");
  await us.exec("nft", "add rule ip t o ip daddr 10.9.0.2 drop");
  assertEquals(await echo([FAR, NEAR], { timeout }), ["not sent EPERM", "reply"]);
  await us.exec("nft", "delete table ip t");
  // A router that knows no way, and one whose firewall refuses.
  await us.ip("route", "add", "10.77.0.0/24", "via", "172.28.128.101");
  const unknown = parseIPv4("10.77.0.1")!;
  assertEquals(await echo([unknown, FAR], { timeout }), [
    ...["network unreachable, reported by 172.28.128.101", "reply"],
  ]);
  await router.exec(
    "nft",
    "add table ip t; add chain ip t f { type filter hook forward priority 0; }; " +
      "add rule ip t f reject with icmp type host-prohibited",
  );
  assertEquals(await echo([FAR, NEAR], { timeout }), [
    ...["host administratively prohibited, reported by 172.28.128.101", "reply"],
  ]);
  await router.exec("nft", "delete table ip t");
  // Sizes: our own device, and one further on.
  assertEquals(await echo([FAR], { size: 1500, dontFragment: true }), ["reply"]);
  assertEquals(await echo([FAR], { size: 1501, dontFragment: true }), ["too big 1500 by us"]);
  assertEquals(await echo([FAR], { size: 4000 }), ["reply"]);
  await router.ip("link", "set", "eth2", "mtu", "1400");
  await far.ip("link", "set", "eth1", "mtu", "1400");
  for (const size of [1401, 1500]) {
    assertEquals(await echo([FAR], { size, dontFragment: true, timeout }), [
      "too big 1400 by 172.28.128.101",
    ]);
  }
  assertEquals(await echo([FAR], { size: 1400, dontFragment: true }), ["reply"]);
});

Deno.test("Prober.echo() has thousands in flight, at the rate it was given", async () => {
  await using stack = new AsyncDisposableStack();
  const { us } = await wire(stack);
  await us.ip("address", "add", "10.8.0.0/16", "dev", "lo");
  const prober = stack.use(Prober.open({ netns: us.path, rate: 5000, burst: 100 }));
  const base = parseIPv4("10.8.0.0")!;
  const addresses = Array.from({ length: 2600 }, (_, i) => base + 1 + i);
  const start = performance.now();
  const outcomes = await prober.echo(addresses);
  const elapsed = performance.now() - start;
  assertEquals(outcomes.filter(({ type }) => type !== "reply"), []);
  assert(elapsed >= 500, `2,500 beyond the burst at 5,000 a second took ${elapsed} ms`);
});

Deno.test("Prober.echo() keeps its replies apart from another's", async () => {
  await using stack = new AsyncDisposableStack();
  const { us, far } = await wire(stack);
  const [one, other] = [
    stack.use(Prober.open({ netns: us.path })),
    stack.use(Prober.open({ netns: us.path })),
  ];
  await far.ip("link", "set", "eth1", "down");
  // Both sockets see every reply; the sequence numbers are the same.
  const [lost, [reply]] = await Promise.all([
    one.echo([FAR], { timeout: 300 }),
    other.echo([NEAR], { timeout: 300 }),
  ]);
  assertEquals([lost[0]!.type, reply!.type], ["timeout", "reply"]);
});

const LOOPBACK = parseIPv4("127.0.0.1")!;
const MARK = { identifier: 0x1234, token: new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]) };

/** Has the namespace's kernel send echo replies with a mark to all raw sockets in it. */
function flood(from: ProbeSocket, count: number, mark: typeof MARK): void {
  for (let sequence = 0; sequence < count; sequence++) {
    writeEchoRequest(from.outgoing, 64, { ...mark, sequence });
    assertEquals(from.send(64, LOOPBACK), 0);
  }
}

async function loopback(stack: AsyncDisposableStack): Promise<NetworkNamespace> {
  const namespace = stack.use(await NetworkNamespace.create());
  await namespace.ip("link", "set", "lo", "up");
  return namespace;
}

/** Messages of one turn, and whether there may be more. */
function turn(socket: ProbeSocket): [messages: number, isMore: boolean] {
  let messages = 0;
  const isMore = socket.receive(() => messages++, () => {});
  return [messages, isMore];
}

Deno.test("ProbeSocket.icmp() is woken by replies that carry its mark alone, however many others come", async () => {
  await using stack = new AsyncDisposableStack();
  const { path: netns } = await loopback(stack);
  const socket = stack.adopt(ProbeSocket.icmp(MARK, { netns }), (socket) => socket.close());
  const other = { identifier: 7, token: new Uint8Array(8) };
  const sender = stack.adopt(ProbeSocket.icmp(other, { netns }), (socket) => socket.close());
  const token = MARK.token.with(7, 9);
  for (const mark of [other, { ...MARK, identifier: 0x1235 }, { ...MARK, token }]) {
    flood(sender, 2_000, mark);
  }
  assertEquals(turn(socket), [0, false]);
  // The buffer was not filled by them either.
  flood(sender, 3, MARK);
  assertEquals(turn(socket), [3, false]);
});

Deno.test("ProbeSocket.receive() does as much in a turn of the event loop for any flood", async () => {
  await using stack = new AsyncDisposableStack();
  const { path: netns } = await loopback(stack);
  for (const backlog of [257, 400]) {
    const socket = ProbeSocket.icmp(MARK, { netns });
    try {
      flood(socket, backlog, MARK);
      assertEquals(turn(socket), [256, true]);
      assertEquals(turn(socket), [backlog - 256, false]);
    } finally {
      socket.close();
    }
  }
});

Deno.test("ProbeSocket.udp() takes no datagram in", async () => {
  await using stack = new AsyncDisposableStack();
  const namespace = await loopback(stack);
  const socket = stack.adopt(
    ProbeSocket.udp({ netns: namespace.path }),
    (socket) => socket.close(),
  );
  assertEquals(socket.send(0, LOOPBACK, 9), 0);
  const port = /:(\d+)\s/.exec(await namespace.exec("ss", "-Huan"))![1]!;
  await namespace.exec(
    "bash",
    "-c",
    `for i in {1..100}; do echo x > /dev/udp/127.0.0.1/${port}; done`,
  );
  let errors = 0;
  assertEquals(socket.receive(() => assert(false, "a datagram"), () => errors++), false);
  assertEquals(errors, 1);
});

Deno.test("Prober.echo() ends with its signal, and when the prober is disposed", async () => {
  await using stack = new AsyncDisposableStack();
  const { us } = await wire(stack);
  const prober = stack.use(Prober.open({ netns: us.path }));
  const abort = new AbortController();
  const waiting = prober.echo([NOWHERE], { timeout: 60_000, signal: abort.signal });
  setTimeout(() => abort.abort(new Error("enough")), 20);
  await assertRejects(() => waiting, Error, "enough");
  await assertRejects(() => prober.echo([NEAR], { size: 35 }), RangeError, "from 36 to 65535");
  assertEquals((await prober.echo([NEAR], { size: 36 }))[0]!.type, "reply");
  const last = prober.echo([NOWHERE], { timeout: 60_000 });
  await prober[Symbol.asyncDispose]();
  assertEquals((await last)[0]!.type, "timeout");
  await assertRejects(() => prober.echo([NEAR]), TypeError, "closed");
});

Deno.test("Prober.echo() rejects when poll(2) fails, and works again afterwards", async () => {
  await using stack = new AsyncDisposableStack();
  const { us } = await wire(stack);
  const prober = stack.use(Prober.open({ netns: us.path }));
  {
    // poll(2) refuses more descriptors than a process may have, and the prober waits for two.
    using _limit = limitDescriptors(1n);
    await Promise.all([[NEAR], [NEAR, NOWHERE]].map((addresses) =>
      assertRejects(
        () => prober.echo(addresses, { timeout: 60_000 }),
        SysError,
        "poll: EINVAL",
      )
    ));
  }
  assertEquals((await prober.echo([NEAR]))[0]!.type, "reply");
});

/** Sets this process's RLIMIT_NOFILE, the soft one, until it is disposed of. */
function limitDescriptors(most: bigint): Disposable {
  const RLIMIT_NOFILE = 7; // asm-generic/resource.h
  const library = Deno.dlopen("libc.so.6", {
    getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
    setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  });
  const { symbols } = library;
  const before = new BigUint64Array(2);
  assertEquals(symbols.getrlimit(RLIMIT_NOFILE, before), 0);
  assertEquals(symbols.setrlimit(RLIMIT_NOFILE, BigUint64Array.of(most, before[1]!)), 0);
  return {
    [Symbol.dispose]() {
      assertEquals(symbols.setrlimit(RLIMIT_NOFILE, before), 0);
      library.close();
    },
  };
}

Deno.test("Prober works over a ping socket where a raw one is not allowed", async () => {
  await using namespace = await NetworkNamespace.create();
  await namespace.exec("sysctl", "-qw", "net.ipv4.ping_group_range=0 65534");
  const script = `
    import { Prober } from "${new URL("../../mod/probe/mod.ts", import.meta.url)}";
    await using prober = Prober.open();
    const outcomes = await prober.echo([0x7f000001, 0x7f000002], { size: 1000 });
    const [, ...pingSockets] = Deno.readTextFileSync("/proc/net/icmp").trim().split("\\n");
    console.log(JSON.stringify([pingSockets.length, ...outcomes.map(({ type }) => type)]));
    Deno.exit(0);
  `;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, script);
    const command = ["run", "-A", "--no-check", `--config=${configFile()}`, file];
    const text = await namespace.exec(
      ...["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", Deno.execPath()],
      ...command,
    );
    assertEquals(text.trim(), '[1,"reply","reply"]');
  } finally {
    await Deno.remove(file);
  }
});

function configFile(): string {
  return new URL("../../deno.json", import.meta.url).pathname;
}

Deno.test("measurePathMtu() finds a smaller MTU further on, reported or not", async () => {
  await using stack = new AsyncDisposableStack();
  const { us, router, far } = await wire(stack);
  const prober = stack.use(Prober.open({ netns: us.path }));
  const measure = () => measurePathMtu(prober, FAR, { limit: 1500, timeout: 200 });
  assertEquals(await measure(), { mtu: 1500 });
  await router.ip("link", "set", "eth2", "mtu", "1388");
  await far.ip("link", "set", "eth1", "mtu", "1388");
  assertEquals(await measure(), { mtu: 1388, reportedBy: ROUTER });
  // The black hole: no ICMP comes back.
  await router.exec(
    "nft",
    "add table ip t; add chain ip t o { type filter hook output priority 0; }",
  );
  await router.exec("nft", "add rule ip t o icmp type destination-unreachable drop");
  assertEquals(await measure(), { mtu: 1388 });
  await us.ip("link", "set", "eth1", "mtu", "1280");
  assertEquals(await measure(), { mtu: 1280, reportedBy: "here" });
  await far.ip("link", "set", "eth1", "down");
  assertEquals(await measure(), undefined);
});

Deno.test("probeUdpPort() distinguishes a closed port, a firewall that refuses, and silence", async () => {
  await using stack = new AsyncDisposableStack();
  const { us, router, far } = await wire(stack);
  const options = { netns: us.path, timeout: 200 };
  const probe = (address: number) =>
    probeUdpPort([address], 8472, options).then(([outcome]) => outcome!);
  assertEquals(await probe(NEAR), { type: "closed", by: NEAR });
  // A tunnel: the kernel accepts the datagram silently.
  await router.ip(..."link add flannel.1 type vxlan id 1 dstport 8472 dev eth1".split(" "));
  await router.ip("link", "set", "flannel.1", "up");
  assertEquals(await probe(NEAR), { type: "silent" });
  assertEquals(await probeUdpPort([NEAR, FAR], 8472, options), [
    { type: "silent" },
    { type: "closed", by: FAR },
  ]);
  await far.exec("nft", "add table ip t; add chain ip t i { type filter hook input priority 0; }");
  await far.exec("nft", "add rule ip t i udp dport 8472 reject with icmp type host-prohibited");
  assertEquals(await probe(FAR), {
    ...{
      type: "rejected",
      by: FAR,
      words: "host administratively prohibited, reported by 10.9.0.2",
    },
  });
  await far.exec("nft", "flush chain ip t i");
  await far.exec("nft", "add rule ip t i udp dport 8472 drop");
  assertEquals(await probe(FAR), { type: "silent" });
  const unsent = await probe(parseIPv4("8.8.8.8")!);
  assertEquals(unsent.type === "not-sent" && unsent.error.code, "ENETUNREACH");
});

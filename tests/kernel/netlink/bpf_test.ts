/** BPF objects in the running kernel: they are loaded, run, pinned and attached for real. */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { Errno, inNetworkNamespace, libc, Netlink, SysError } from "../../../mod/sys/mod.ts";
import {
  Assembler,
  BpfError,
  BPFFS,
  BpfMap,
  BpfProgram,
  ensureBpffs,
  type MapShape,
  MapType,
  openPin,
  pin,
  possibleProcessors,
  R0,
  R1,
  R10,
  R2,
  removePin,
  SkBuff,
  TcxLink,
} from "../../../mod/sys/bpf/mod.ts";
import { bpf } from "../../../mod/sys/bpf/call.ts";
import { NetworkNamespace } from "../../lab/netns.ts";

libc();

const u32 = (value: number) => {
  const bytes = new Uint8Array(new ArrayBuffer(4));
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
};

/** Gives every packet one verdict. */
const verdict = (value: number) => new Assembler().mov(R0, value).exit().assemble();

/** A directory of its own in the BPF file system. */
function pinDirectory(): Disposable & { readonly path: string } {
  ensureBpffs();
  const path = `${BPFFS}/flanneld-test-${crypto.randomUUID()}`;
  Deno.mkdirSync(path);
  return { path, [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }) };
}

Deno.test("BpfMap.create() makes a map for a large network within a small limit of locked memory", () => {
  // Before Linux 5.11 it counts with 40 MB, where a process may have 64 KiB (tests/vm).
  const [type, maxEntries] = ["BPF_MAP_TYPE_HASH", 1 << 20] as const;
  using map = BpfMap.create("test", { type, keySize: 4, valueSize: 32, maxEntries, sparse: true });
  map.update(u32(7), new Uint8Array(32));
  assertEquals(map.keys(), [u32(7)]);
});

Deno.test("BpfMap.update(), lookup(), keys() and delete() agree with a naive map", () => {
  for (const type of ["BPF_MAP_TYPE_HASH", "BPF_MAP_TYPE_PERCPU_HASH"] as const) {
    using map = BpfMap.create("test", { type, keySize: 4, valueSize: 12, maxEntries: 100 });
    const naive = new Map<number, number>();
    for (let i = 0; i < 500; i++) {
      const key = Math.floor(Math.random() * 90);
      if (Math.random() < 0.3) assertEquals(map.delete(u32(key)), naive.delete(key));
      else {
        const value = new Uint8Array(12).fill(i & 255);
        map.update(u32(key), value);
        naive.set(key, i & 255);
      }
    }
    const keys = map.keys().map((key) => new DataView(key.buffer).getUint32(0, true));
    assertEquals(new Set(keys), new Set(naive.keys()));
    for (const [key, value] of naive) assertEquals(map.lookup(u32(key))!.getUint8(11), value);
    assertEquals(map.lookup(u32(99)), undefined);
    const error = assertThrows(() => {
      for (let i = 0; i < 200; i++) map.update(u32(1000 + i), new Uint8Array(12));
    }, SysError);
    assertEquals(error.code, "E2BIG");
  }
});

Deno.test("BpfMap as an LPM trie finds the longest prefix", () => {
  using map = BpfMap.create("test", {
    ...{ type: "BPF_MAP_TYPE_LPM_TRIE", keySize: 8, valueSize: 4, maxEntries: 10 },
  });
  const prefix = (length: number, ...address: number[]) =>
    new Uint8Array([length, 0, 0, 0, ...address]);
  map.update(prefix(16, 10, 40, 0, 0), u32(16));
  map.update(prefix(24, 10, 40, 1, 0), u32(24));
  assertEquals(map.lookup(prefix(32, 10, 40, 1, 9))!.getUint32(0, true), 24);
  assertEquals(map.lookup(prefix(32, 10, 40, 2, 9))!.getUint32(0, true), 16);
  assertEquals(map.lookup(prefix(32, 10, 41, 2, 9)), undefined);
  assertEquals(map.keys().length, 2);
});

Deno.test("BpfProgram.run() runs what was assembled, maps and counters included", () => {
  using counters = BpfMap.create("counters", {
    ...{ type: "BPF_MAP_TYPE_PERCPU_ARRAY", keySize: 4, valueSize: 8, maxEntries: 2 },
  });
  const program = new Assembler()
    .load(R2, R1, SkBuff.len, 4)
    .store(R10, -8, R2, 8)
    .store(R10, -12, 1, 4)
    .loadMap(R1, "counters")
    .mov(R2, R10).alu(R2, "add", -12)
    .call("map_lookup_elem")
    .jumpIf(R0, "==", 0, "out")
    .load(R2, R0, 0, 8)
    .load(R1, R10, -8, 8)
    .alu(R2, "add", R1)
    .store(R0, 0, R2, 8)
    .label("out")
    .mov(R0, 2)
    .exit()
    .assemble();
  using loaded = BpfProgram.load("count", program, { counters: counters.fd });
  assertMatch(loaded.tag, /^[0-9a-f]{16}$/);
  for (const length of [60, 100, 1000]) {
    assertEquals(loaded.run(new Uint8Array(length)).verdict, 2);
  }
  assertEquals(counters.sum(counters.lookup(u32(1))!, 0), 1160);
  assertEquals(counters.sum(counters.lookup(u32(0))!, 0), 0);
  assertEquals(counters.copies, possibleProcessors());
});

Deno.test("BpfProgram.load() throws the verifier's words when it refuses", () => {
  const error = assertThrows(
    () => BpfProgram.load("bad", new Assembler().mov(R2, R0).exit().assemble()),
    BpfError,
  );
  assertMatch(error.message, /^BPF program bad: R0 !read_ok; BPF_PROG_LOAD: EACCES/);
  assert(error.log.includes("r2 = r0"));
});

Deno.test("pin() keeps an object and replaces another; openPin() finds it; removePin() lets it go", () => {
  using directory = pinDirectory();
  const path = `${directory.path}/map`;
  const shape = { type: "BPF_MAP_TYPE_HASH", keySize: 4, valueSize: 4, maxEntries: 4 } as const;
  assertEquals(openPin(path), undefined);
  for (const value of [1, 2]) {
    using map = BpfMap.create("test", shape);
    map.update(u32(0), u32(value));
    pin(map.fd, path);
    const fd = openPin(path)!;
    assert(BpfMap.hasShape(fd, shape));
    assert(!BpfMap.hasShape(fd, { ...shape, valueSize: 8 }));
    assert(!BpfMap.hasShape(fd, { ...shape, type: "BPF_MAP_TYPE_PERCPU_HASH" }));
    using found = new BpfMap(fd, shape);
    assertEquals(found.lookup(u32(0))!.getUint32(0, true), value);
  }
  assertEquals([...Deno.readDirSync(directory.path)].map(({ name }) => name), ["map"]);
  removePin(path);
  removePin(path);
  assertEquals(openPin(path), undefined);
});

/** Flags of maps in linux/bpf.h that we give to none. */
const FLAGS = {
  BPF_F_NUMA_NODE: 1 << 2,
  BPF_F_RDONLY_PROG: 1 << 7,
  BPF_F_WRONLY_PROG: 1 << 8,
  BPF_F_MMAPABLE: 1 << 10,
};

Deno.test("BpfMap.hasShape() rejects maps with other flags, and frozen ones", () => {
  const array = { type: "BPF_MAP_TYPE_ARRAY", keySize: 4, valueSize: 8, maxEntries: 2 } as const;
  for (const [name, flag] of Object.entries(FLAGS)) {
    // union bpf_attr: map_type, key_size, value_size, max_entries, map_flags.
    const attributes = new Uint8Array(new ArrayBuffer(48));
    new Uint32Array(attributes.buffer).set([MapType[array.type], 4, 8, 2, flag]);
    using map = new BpfMap(bpf("BPF_MAP_CREATE", attributes, { subject: name }), array);
    assert(!BpfMap.hasShape(map.fd, array), name);
  }
  for (
    const shape of [
      ...[array, { ...array, type: "BPF_MAP_TYPE_HASH" }],
      ...[{ ...array, type: "BPF_MAP_TYPE_HASH", sparse: true }],
      ...[{ ...array, type: "BPF_MAP_TYPE_LPM_TRIE", keySize: 8 }],
    ] as MapShape[]
  ) {
    using map = BpfMap.create("test", shape);
    assert(BpfMap.hasShape(map.fd, shape));
    const attributes = new Uint8Array(new ArrayBuffer(8));
    new DataView(attributes.buffer).setInt32(0, map.fd, true);
    bpf("BPF_MAP_FREEZE", attributes);
    assert(!BpfMap.hasShape(map.fd, shape), `frozen ${shape.type}`);
  }
});

Deno.test("TcxLink attaches, is replaced in place, outlives its interface and detaches", async () => {
  await using namespace = await NetworkNamespace.create();
  await namespace.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth2");
  using netlink = Netlink.open({ netns: namespace.path });
  const { index } = netlink.link("eth1")!;
  using drop = BpfProgram.load("drop", verdict(2));
  using pass = BpfProgram.load("pass", verdict(0));
  using link = inNetworkNamespace(
    namespace.path,
    () => TcxLink.attach(drop, index, "ingress"),
  );
  assertEquals(link.programId, drop.id);
  assert(link.isAt(index, "ingress"));
  assert(!link.isAt(index, "egress"));
  link.update(pass);
  assertEquals(link.programId, pass.id);
  await namespace.ip("link", "del", "eth1");
  assert(!link.isAt(index, "ingress"));
  const error = assertThrows(
    () => inNetworkNamespace(namespace.path, () => TcxLink.attach(drop, index, "ingress")),
    SysError,
  );
  assertEquals(error.errno, Errno.ENODEV);
});

Deno.test("Netlink.setFilter() attaches by clsact, replaces in place, and removeFilter() takes off", async () => {
  await using namespace = await NetworkNamespace.create();
  await namespace.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth2");
  using netlink = Netlink.open({ netns: namespace.path });
  const { index } = netlink.link("eth1")!;
  using drop = BpfProgram.load("drop", verdict(2));
  using pass = BpfProgram.load("pass", verdict(0));
  const place = { index, direction: "ingress", priority: 8285 } as const;
  assertEquals(netlink.filters(index, "ingress"), []);
  netlink.setFilter({ ...place, name: "flanneld", fd: drop.fd });
  const [first] = netlink.filters(index, "ingress");
  assertEquals(first, { ...place, name: "flanneld", programId: drop.id });
  netlink.setFilter({ ...place, name: "flanneld", fd: pass.fd });
  assertEquals(netlink.filters(index, "ingress").map(({ programId }) => programId), [pass.id]);
  netlink.setFilter({ ...place, direction: "egress", name: "flanneld", fd: drop.fd });
  assertEquals(netlink.filters(index, "egress").length, 1);
  // As iproute2 sees it: direct action is what makes the verdict count.
  const shown = await namespace.exec("tc", "filter", "show", "dev", "eth1", "ingress");
  assertMatch(shown, /pref 8285 bpf .*handle 0x1 flanneld direct-action/);
  assertEquals(netlink.removeFilter(place), true);
  assertEquals(netlink.removeFilter(place), false);
  assertEquals(netlink.filters(index, "ingress"), []);
});

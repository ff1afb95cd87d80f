import { assert, assertEquals } from "@std/assert";
import { formatIPv4, type IPv4 } from "../../ip/mod.ts";
import type { EchoOutcome } from "../../probe/mod.ts";
import { type Snapshot, StoreError } from "../../store/mod.ts";
import { FakeTime } from "../testing/time_lab.ts";
import { PeerProbe, type PeerProbeOptions } from "./peer_probe.ts";
import { labLease, labView } from "../testing/status_view_lab.ts";

/** A probe whose ICMP echo requests are answered by `reply`, and their destinations. */
function probe(
  views: Parameters<typeof labView>[],
  reply: (address: IPv4) => EchoOutcome,
  options: PeerProbeOptions = {},
) {
  const sent: string[] = [];
  const abort = new AbortController();
  const state = { open: 0 };
  const made = views.map((view) => labView(...view));
  const it = new PeerProbe(() => made, abort.signal, {
    openProber: () => {
      state.open++;
      return {
        echo: (addresses) => {
          sent.push(...addresses.map(formatIPv4));
          return Promise.resolve(addresses.map(reply));
        },
        [Symbol.asyncDispose]: () => {
          state.open--;
          return Promise.resolve();
        },
      };
    },
    ...options,
  });
  return { it, sent, abort, state };
}

const { setTimeout: plan } = globalThis;
/** Waits in real time, whatever the clock of the test. */
const pause = (ms: number) => new Promise((resolve) => plan(resolve, ms));

Deno.test("PeerProbe sends ICMP echo requests while somebody polls, and then forgets", async () => {
  const { it, sent, state } = probe(
    [[[labLease(2), labLease(3)]]],
    (address) =>
      formatIPv4(address) === "10.20.2.0" ? { type: "reply", rtt: 0.25 } : { type: "timeout" },
    { idle: 500 },
  );
  assertEquals([sent, state.open], [[], 0]);
  it.request();
  await pause(50);
  assertEquals(sent, ["10.20.2.0", "10.20.3.0"]);
  const { time: _, ...answered } = it.roundTrip("", "10.20.2.0/24")!;
  assertEquals(answered, { sent: 1, lost: 0, last: 0.25, best: 0.25 });
  const lost = it.roundTrip("", "10.20.3.0/24")!;
  assertEquals([lost.sent, lost.lost, lost.last], [1, 1, undefined]);
  // Its own timers keep nothing alive.
  const alive = setInterval(() => {}, 1000);
  await it.idle;
  clearInterval(alive);
  // Within their interval nobody was asked twice.
  assertEquals([sent.length, state.open], [2, 0]);
  assertEquals(it.roundTrip("", "10.20.2.0/24"), undefined);
});

Deno.test("PeerProbe sends at most 20 ICMP echo requests per second, to the longest-waiting peer first", async () => {
  const peers = Array.from({ length: 50 }, (_, i) => labLease(i + 2));
  const { it, sent, abort } = probe([[peers]], () => ({ type: "timeout" }), { interval: 0 });
  using time = new FakeTime();
  it.request();
  await pause(50);
  assertEquals([sent.length, time.planned], [20, [1000]]);
  time.tick(1000);
  await pause(50);
  assertEquals(sent.length, 40);
  assertEquals(new Set(sent).size, 40);
  abort.abort();
  await it.idle;
});

Deno.test("PeerProbe asks the bridge where there is no device, and nobody whose packets are not carried", async () => {
  const refused = new Map([["10.20.3.0-24", "is outside"]]);
  const { it, sent, abort } = probe(
    [
      [[labLease(2), labLease(3)], { name: "a", status: { device: undefined as never, refused } }],
      [[labLease(4)], { name: "b", status: { peers: 0 } }],
    ],
    () => ({ type: "reply", rtt: 1 }),
  );
  it.request();
  await pause(50);
  assertEquals(sent, ["10.20.2.1"]);
  assert(it.roundTrip("a", "10.20.2.0/24") !== undefined);
  abort.abort();
  await it.idle;
});

Deno.test("PeerProbe.request() gives up when ICMP echo requests cannot be sent", async () => {
  const it = new PeerProbe(() => [labView([labLease(2)])], new AbortController().signal, {
    openProber: () => {
      throw new Error("EPERM");
    },
  });
  it.request();
  await it.idle;
  assertEquals(it.roundTrip("", "10.20.2.0/24"), undefined);
});

Deno.test("PeerProbe.records() reads them once in a while, and does without when it cannot", async () => {
  let calls = 0;
  const record = { hostname: "host2", version: "0.1.0" };
  const { publicIP } = labLease(2).attributes;
  const view = labView([labLease(2)], {
    store: {
      name: "",
      snapshot: () => {
        calls++;
        return Promise.resolve({
          agents: [
            { publicIP, record },
            { publicIP: publicIP + 1, record: { ...record, claims: {} } },
          ],
        } as unknown as Snapshot);
      },
    },
  });
  const it = new PeerProbe(() => [view], new AbortController().signal);
  assertEquals([...await it.records(view)], [[publicIP, record]]);
  await it.records(view);
  assertEquals(calls, 1);
  let failures = 0;
  const other = labView([], {
    name: "other",
    store: {
      name: "",
      snapshot: () => {
        failures++;
        return Promise.reject(new StoreError("down"));
      },
    },
  });
  const both = await Promise.all([it.records(other), it.records(other)]);
  assertEquals(both.map(({ size }) => size), [0, 0]);
  assertEquals((await it.records(other)).size, 0);
  assertEquals(failures, 1);
});

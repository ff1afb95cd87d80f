import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { measurePathMtu } from "./path_mtu.ts";
import type { Echo, EchoOutcome } from "./prober.ts";

const ADDRESS = 0x0a144100;
const ROUTER = 0xac1c8001;

/** A path of one MTU; counts what it was sent. */
class Path implements Echo {
  rounds = 0;
  sizes: number[] = [];
  readonly mtu: number;
  readonly reports: boolean;
  readonly loses: (size: number, copy: number) => boolean;

  constructor(mtu: number, reports = false, loses: Path["loses"] = () => false) {
    this.mtu = mtu;
    this.reports = reports;
    this.loses = loses;
  }

  echo: Echo["echo"] = (addresses, { size = 0, dontFragment, signal } = {}) => {
    signal?.throwIfAborted();
    assert(dontFragment);
    this.sizes.push(size);
    return Promise.resolve(addresses.map((address, copy): EchoOutcome => {
      assertEquals(address, ADDRESS);
      if (this.loses(size, copy)) return { type: "timeout" };
      if (size <= this.mtu) return { type: "reply", rtt: 1 };
      return this.reports ? { type: "too-big", mtu: this.mtu, by: ROUTER } : { type: "timeout" };
    }));
  };
}

Deno.test("measurePathMtu() finds the MTU of any path, reported or not", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 576, max: 9000 }),
      fc.integer({ min: 576, max: 9000 }),
      fc.boolean(),
      async (mtu, limit, reports) => {
        const path = new Path(mtu, reports);
        const found = await measurePathMtu(path, ADDRESS, { limit });
        const reportedBy = reports && mtu < limit ? { reportedBy: ROUTER } : {};
        assertEquals(found, { mtu: Math.min(mtu, limit), ...reportedBy });
        // Each round takes a timeout: 16 sizes at a time, of at most 8,425.
        assert(path.sizes.length <= 1 + 4 * 16, String(path.sizes));
        if (mtu >= limit) assertEquals(path.sizes, [limit]);
        else if (reports) assertEquals(path.sizes, [limit, mtu]);
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("measurePathMtu() tolerates one lost echo request of each size", async () => {
  await fc.assert(fc.asyncProperty(
    fc.integer({ min: 576, max: 1500 }),
    fc.func(fc.nat(1)),
    async (mtu, lost) => {
      const path = new Path(mtu, false, (size, copy) => copy === lost(size));
      assertEquals(
        (await measurePathMtu(path, ADDRESS, { limit: 1450 }))?.mtu,
        Math.min(mtu, 1450),
      );
    },
  ));
});

Deno.test("measurePathMtu() returns undefined for a silent peer", async () => {
  const path = new Path(1500, false, () => true);
  assertEquals(await measurePathMtu(path, ADDRESS, { limit: 1450 }), undefined);
  assertEquals(await measurePathMtu(new Path(500), ADDRESS, { limit: 1450 }), undefined);
});

Deno.test("measurePathMtu() ignores impossible MTUs in ICMP errors", async () => {
  for (const reported of [0, 68, 1450, 65535]) {
    const path = new Path(1300, true);
    const echo: Echo["echo"] = async (...args) =>
      (await path.echo(...args)).map((outcome) =>
        outcome.type === "too-big" ? { ...outcome, mtu: reported } : outcome
      );
    assertEquals(await measurePathMtu({ echo }, ADDRESS, { limit: 1450 }), { mtu: 1300 });
  }
});

Deno.test("measurePathMtu() ends with its signal", async () => {
  const signal = AbortSignal.abort(new Error("enough"));
  const path = new Path(1300);
  await assertRejects(
    () => measurePathMtu(path, ADDRESS, { limit: 1450, signal }),
    Error,
    "enough",
  );
});

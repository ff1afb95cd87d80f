import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Prefix } from "../../mod/ip/mod.ts";
import { describeProviderChange, diffRoutes, fixedRoutes, type Wanted } from "./desired.ts";
import type { ProviderRoute, Survey } from "./provider.ts";

const NETWORK = Prefix.parse("10.20.0.0/16")!;
const OWN = Prefix.parse("10.20.1.0/24")!;
const WANTED: Wanted = { own: OWN, networks: [NETWORK], subnetLen: 24 };

function survey(...routes: readonly ProviderRoute[]): Survey {
  return { self: "eni-1", settings: [], obstacles: [], tables: [{ id: "rtb-1", routes }] };
}

function route(
  text: string,
  target: ProviderRoute["target"],
  isFixed = false,
): ProviderRoute {
  return { destination: Prefix.parse(text)!, target, via: `to-${target}`, isFixed };
}

function lines(...routes: readonly ProviderRoute[]): string[] {
  const found = survey(...routes);
  return diffRoutes(found, WANTED)
    .flatMap((change) => describeProviderChange(change, found.self))
    .map(({ sign, text }) => sign + text.replace("route ", "").replace(" in rtb-1 to", ""));
}

Deno.test("diffRoutes() makes, replaces or keeps our route", () => {
  assertEquals(lines(), ["+10.20.1.0/24 eni-1"]);
  assertEquals(lines(route("10.20.1.0/24", "own")), []);
  assertEquals(lines(route("10.20.1.0/24", "other")), [
    "-10.20.1.0/24 to-other",
    "+10.20.1.0/24 eni-1",
  ]);
  assertEquals(lines(route("10.20.1.0/24", "gone")), [
    "-10.20.1.0/24 to-gone, which is gone",
    "+10.20.1.0/24 eni-1",
  ]);
});

Deno.test("diffRoutes() adds its route beside one that nobody can change", () => {
  const propagated = route("10.20.1.0/24", "other", true);
  assertEquals(lines(propagated), ["+10.20.1.0/24 eni-1"]);
  assertEquals(lines(propagated, route("10.20.1.0/24", "own")), []);
  assertEquals(fixedRoutes(survey(propagated), OWN).length, 1);
  assertEquals(fixedRoutes(survey(propagated, route("10.20.1.0/24", "own")), OWN), []);
});

Deno.test("diffRoutes() removes only what is stale and inside the network", () => {
  const own = route("10.20.1.0/24", "own");
  for (
    const kept of [
      route("10.20.0.0/16", "gone"),
      route("10.0.0.0/8", "gone"),
      route("10.21.1.0/24", "gone"),
      route("10.20.2.0/24", "other"),
      route("10.20.2.7/32", "own"),
      route("10.20.2.0/24", "gone", true),
    ]
  ) assertEquals(lines(own, kept), []);
  assertEquals(lines(own, route("10.20.2.0/24", "own")), ["-10.20.2.0/24 to-own"]);
  assertEquals(lines(own, route("10.20.64.0/20", "gone")), [
    "-10.20.64.0/20 to-gone, which is gone",
  ]);
});

Deno.test("diffRoutes() leaves nothing to do once its changes are carried out", () => {
  const prefix = fc.record({ third: fc.nat(4), length: fc.constantFrom(16, 20, 24, 32) });
  const routes = fc.uniqueArray(
    fc.record({
      prefix,
      target: fc.constantFrom<ProviderRoute["target"]>("own", "other", "gone"),
      isFixed: fc.boolean(),
    }),
    {
      selector: ({ prefix: { third, length } }) =>
        String(new Prefix(NETWORK.address + third * 256, length)),
    },
  );
  fc.assert(fc.property(routes, (specs) => {
    const before = specs.map(({ prefix: { third, length }, target, isFixed }) => ({
      ...{
        destination: new Prefix(NETWORK.address + third * 256, length),
        target,
        isFixed,
        via: "x",
      },
    }));
    let after: ProviderRoute[] = [...before];
    for (const change of diffRoutes(survey(...before), WANTED)) {
      if (change.op === "set") continue;
      if (change.op !== "create") after = after.filter((one) => one !== change.route);
      if (change.op !== "remove") after.push({ destination: OWN, target: "own", via: "eni-1" });
    }
    assertEquals(diffRoutes(survey(...after), WANTED), []);
    assertEquals(
      after.filter(({ destination, target }) => target === "own" && destination.equals(OWN))
        .length,
      1,
    );
    // Live routes of others, and fixed ones, are still there.
    for (const one of before) {
      const stays = one.isFixed || (one.target === "other" && !one.destination.equals(OWN));
      if (stays) assertEquals(after.includes(one), true);
    }
  }));
});

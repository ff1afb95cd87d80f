/**
 * The lease protocol over a model of each store, in every order in which things can happen.
 *
 * `deno task model` goes further, and so do these tests with `FLANNELD_MODEL_MORE=1` (disturbances in a
 * schedule besides).
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { explore, replay } from "./explore.ts";
import { findProblem, findProblemAtRest } from "./invariants.ts";
import { ProcessGlobals } from "./process.ts";
import { scenarios } from "./scenarios.ts";
import { STORES } from "./store_data.ts";
import { configOf, type Scenario } from "./scenario.ts";
import { World } from "./world.ts";

const more = Number(Deno.env.get("FLANNELD_MODEL_MORE") ?? 0);

for (const scenario of scenarios(more > 0, more)) {
  Deno.test(`lease protocol on ${scenario.name}`, async () => {
    const { violations, isComplete, states, runs } = await explore(scenario);
    assertEquals(
      violations.map(({ problem, schedule }) => `${problem}: ${schedule.join(", ")}`),
      [],
    );
    assert(isComplete, "the schedules have an end");
    // A model in which nothing happens holds every invariant.
    assert(states > 100 && runs > 20, `${states} states, ${runs} runs`);
  });
}

const [A, B] = ["192.0.2.1", "192.0.2.2"];

/** A scenario in which all disturbances of a schedule may happen. */
function scenario(parts: Pick<Scenario, "hosts"> & Partial<Scenario>): Scenario {
  return { name: "replay", store: STORES[0]!, subnets: 2, disturbances: 9, ...parts };
}

/** Actions of an agent until its request for the first subnet is on its way. */
const UNTIL_CREATE = ["start A", "ok A", "ok A", "ok A", "ok A"];

for (const store of STORES.filter(({ repeatedWrite }) => repeatedWrite !== undefined)) {
  for (
    const [what, schedule] of [
      ["whose reply was lost", ["lose A", "retry A", "ok A#1", "ok A"]],
      ["that comes late", ["late A", "retry A", "ok A#1", "ok A", "arrive 0"]],
      ["that was repeated", ["repeat A"]],
    ] as const
  ) {
    Deno.test(`acquire() keeps one subnet after a request ${what} (${store.name})`, async () => {
      const alone = scenario({ hosts: { A }, store });
      assertEquals(await replay(alone, [...UNTIL_CREATE, ...schedule]), undefined);
    });
  }
}

Deno.test("findProblem() sees a lease that is lost without news of it", async () => {
  const running = scenario({ hosts: { A, B }, isRunning: true });
  using globals = new ProcessGlobals();
  const world = await World.create(running, await configOf(running), globals);
  assertEquals(findProblem(world), undefined);
  const subnet = world.hosts[0]!.agent!.keeper.lease!.subnet;
  // Past the history that watches see.
  world.data.entries.delete(world.keyOf(subnet));
  assertEquals(findProblem(world), `A does not notice that it has lost ${subnet}`);
});

Deno.test("replay() shows the limits that docs/decisions/0019 names", async () => {
  // The store executes a repeated request twice, and loses all leases at once.
  const took = [...UNTIL_CREATE, "ok A", "kill A", "start A", "ok A", "ok A", "ok A", "ok A"];
  const again = ["expire /net/subnets/10.20.1.0-24", "ok A", "ok A", "repeat A", "jump"];
  assertEquals(
    await replay(scenario({ hosts: { A } }), [...took, ...again]),
    "A had 10.20.1.0/24, which nobody took, and has 10.20.2.0/24 now",
  );
  // Two hosts hold one subnet for as long as one of them is cut off, and no longer.
  const running = scenario({ hosts: { A, B }, subnets: 1 });
  const first = [...UNTIL_CREATE, "ok A", "cut A", "expire /net/subnets/10.20.1.0-24"];
  const second = [...first, ...UNTIL_CREATE.map((action) => action.replace("A", "B")), "ok B"];
  using globals = new ProcessGlobals();
  const world = await World.create(running, await configOf(running), globals);
  for (const action of second) await world.act(action);
  const [one, two] = world.hosts.map(({ agent }) => agent!.keeper.lease);
  assertEquals(one!.subnet, two!.subnet);
  assertEquals(findProblem(world), undefined);
  assert(await world.comeToRest());
  assertEquals(findProblemAtRest(world), undefined);
  assertEquals(world.hosts[0]!.agent!.keeper.lease, undefined);
});

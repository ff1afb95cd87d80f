/**
 * `deno task bench [name...]`: runs the benches named, or all. Each folder is one question; its
 * `mod.ts` exports `run()`, which prints its answer. Results are counts, or ratios within one run:
 * two machines, or two days of one, are not to be compared.
 *
 * @module
 */
import { machine } from "./machine.ts";

const BENCHES: Readonly<Record<string, () => Promise<{ run(): Promise<void> }>>> = {
  cni: () => import("./cni/mod.ts"),
  fleet: () => import("./fleet/mod.ts"),
  repair: () => import("./repair/mod.ts"),
  scale: () => import("./scale/mod.ts"),
  store: () => import("./store/mod.ts"),
  udp: () => import("./udp/mod.ts"),
};

const names = Deno.args.length > 0 ? Deno.args : Object.keys(BENCHES);
const unknown = names.filter((name) => !Object.hasOwn(BENCHES, name));
if (unknown.length > 0) {
  console.error(`no bench ${unknown.join(", ")}; there are ${Object.keys(BENCHES).join(", ")}`);
  Deno.exit(2);
}
console.log(await machine());
for (const name of names) {
  console.log(`\n== ${name}`);
  await (await BENCHES[name]!()).run();
}

import { assert, assertEquals } from "@std/assert";
import type { info } from "./log.ts";

const root = new URL("../../../", import.meta.url);

/** Names of the members of LogFields. The compiler refuses any other in a call. */
async function declared(): Promise<string[]> {
  const source = await Deno.readTextFile(new URL("log_fields.ts", import.meta.url));
  return [...source.matchAll(/^ {2}readonly (\w+)\?:/gm)].map(([, name]) => name!);
}

/** First column of the table in docs/operate/monitoring.md that begins with `| field`. */
async function documented(): Promise<string[]> {
  const text = await Deno.readTextFile(new URL("docs/operate/monitoring.md", root));
  const [, rows] = /^\| field .*\n\| -.*\n((?:\|.*\n)+)/m.exec(text)!;
  return [...rows!.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name!);
}

Deno.test("LogFields is the dictionary of docs/operate/monitoring.md", async () => {
  const fields = await declared();
  assert(fields.length > 10);
  assertEquals(fields, fields.toSorted());
  assertEquals(await documented(), fields);
});

Deno.test("LogFields has no member that a JSON line has by itself", async () => {
  const own = ["time", "level", "message", "source", "pid"];
  assertEquals((await declared()).filter((name) => own.includes(name)), []);
});

Deno.test("LogFields refuses a name that is not in it when the code is checked", () => {
  type Fields = NonNullable<Parameters<typeof info>[1]>;
  const known: Fields = { network: "10.0.0.0/8" };
  // @ts-expect-error `deno task check` fails here when the compiler accepts the misspelled name.
  const misspelled: Fields = { netwrok: "10.0.0.0/8" };
  assertEquals([known, misspelled].flatMap((fields) => Object.keys(fields)), [
    "network",
    "netwrok",
  ]);
});

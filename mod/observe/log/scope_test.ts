import { assertEquals } from "@std/assert";
import { configureLog, info } from "./log.ts";
import { currentScope, openScopes, type Scope } from "./scope.ts";
import { notifySystemd } from "../systemd.ts";

function scopeNamed(name: string, notes: string[]): Scope {
  return { name, notify: (assignments) => void notes.push(`${name} ${assignments.join()}`) };
}

Deno.test("openScopes() keeps what runs side by side apart, over awaits and timers", async () => {
  const lines: string[] = [];
  const notes: string[] = [];
  const before = configureLog({ write: (line) => lines.push(line.replace(/^.*?\] /, "")) });
  try {
    const runIn = await openScopes();
    const work = async () => {
      info("one");
      await new Promise((resolve) => setTimeout(resolve, 5));
      info("two");
      await new Promise<void>((resolve) => {
        setTimeout(() => {
          info("three");
          notifySystemd("READY=1");
          resolve();
        }, 5);
      });
    };
    await Promise.all(["blue", "green"].map((name) => runIn(scopeNamed(name, notes), work)));
    info("none");
    assertEquals(lines.sort(), [
      ...["blue: one\n", "blue: three\n", "blue: two\n"],
      ...["green: one\n", "green: three\n", "green: two\n"],
      "none\n",
    ]);
    assertEquals(notes.sort(), ["blue READY=1", "green READY=1"]);
    assertEquals(currentScope(), undefined);
  } finally {
    configureLog(before);
  }
});

Deno.test("info() names the network in a field of JSON lines", async () => {
  const lines: string[] = [];
  const before = configureLog({ format: "json", write: (line) => lines.push(line) });
  try {
    const runIn = await openScopes();
    runIn(scopeNamed("blue", []), () => info("text"));
    info("text");
    assertEquals(
      lines.map((line) => JSON.parse(line)).map(({ message, networkName }) => [
        message,
        networkName,
      ]),
      [["text", "blue"], ["text", undefined]],
    );
  } finally {
    configureLog(before);
  }
});

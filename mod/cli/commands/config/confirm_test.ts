import { assertEquals, assertRejects } from "@std/assert";
import { confirm, type Terminal } from "./confirm.ts";

function terminal(...chunks: string[]): Terminal & { readonly asked: string[] } {
  const asked: string[] = [];
  const input = ReadableStream.from(chunks).pipeThrough(new TextEncoderStream());
  return { isTerminal: true, input, write: (text) => void asked.push(text), asked };
}

const { signal } = new AbortController();

Deno.test("confirm() takes y and yes for a yes, and all else for a no", async () => {
  for (const yes of ["y\n", "Yes\r\n", " y \nrest", "YES"]) {
    assertEquals(await confirm("Write it?", terminal(yes), signal), "yes", yes);
  }
  for (const no of ["n\n", "\n", "", "yep\n", "no\ny\n"]) {
    assertEquals(await confirm("Write it?", terminal(no), signal), "no", no);
  }
  const parts = terminal("y", "e", "s", "\n");
  assertEquals(await confirm("Write it?", parts, signal), "yes");
  assertEquals(parts.asked, ["Write it? [y/N] "]);
});

Deno.test("confirm() asks nobody where there is no terminal", async () => {
  const pipe = { ...terminal("y\n"), isTerminal: false };
  assertEquals(await confirm("Write it?", pipe, signal), "nobody to ask");
  assertEquals(pipe.asked, []);
});

Deno.test("confirm() gives the question up with the signal's reason", async () => {
  const controller = new AbortController();
  const silent = { ...terminal(), input: new ReadableStream<Uint8Array>() };
  const answer = confirm("Write it?", silent, controller.signal);
  controller.abort(new Error("enough"));
  await assertRejects(() => answer, Error, "enough");
});

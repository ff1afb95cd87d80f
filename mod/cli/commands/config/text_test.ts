import { assertEquals, assertRejects } from "@std/assert";
import { ConfigError } from "../../../config/mod.ts";
import { readGivenConfig } from "./text.ts";
import { UsageError } from "../../errors.ts";

const TEXT = '{"Network": "10.20.0.0/16"}';

Deno.test("readGivenConfig() takes JSON, a file, or standard input", async () => {
  assertEquals((await readGivenConfig(` ${TEXT}\n`)).text, TEXT);
  const stdin = ReadableStream.from([`\ufeff${TEXT}`, "\r\n"]).pipeThrough(new TextEncoderStream());
  assertEquals((await readGivenConfig("-", stdin)).text, TEXT);
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, `\n${TEXT}\n`);
    assertEquals(await readGivenConfig(path), { text: TEXT, from: `the config in ${path}` });
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("readGivenConfig() describes a word that is none of these", async () => {
  const missing = await assertRejects(() => readGivenConfig("nosuch.json"), UsageError);
  assertEquals(
    missing.message,
    "there is no file nosuch.json: expected JSON that begins with {, a file, or - for standard input",
  );
  for (const word of ["", " \n"]) {
    await assertRejects(
      () => readGivenConfig(word),
      UsageError,
      "the config that was given is empty: expected JSON that begins with {",
    );
  }
  await assertRejects(() => readGivenConfig("/"), ConfigError, "cannot read /: it is a directory");
  await assertRejects(() => readGivenConfig("/dev/zero"), ConfigError, "more than 1048576 bytes");
  const bytes = ReadableStream.from([Uint8Array.of(0x7b, 0xff, 0x7d)]);
  await assertRejects(
    () => readGivenConfig("-", bytes),
    ConfigError,
    "the config of standard input is not UTF-8",
  );
});

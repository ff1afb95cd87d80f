import { assertEquals } from "@std/assert";
import { captureLog } from "../../observe/testing/log_lab.ts";
import { ReloadedFiles } from "./reloaded_files.ts";

Deno.test("ReloadedFiles reads changed files again, and keeps the former content where they are damaged", async () => {
  const path = await Deno.makeTempFile({ prefix: "reloaded-" });
  const write = async (text: string) => {
    await Deno.writeTextFile(`${path}.new`, text);
    await Deno.rename(`${path}.new`, path);
  };
  using log = captureLog();
  try {
    await write("one");
    const files = await ReloadedFiles.open([path, undefined], async () => {
      const text = await Deno.readTextFile(path);
      if (text === "damaged") throw new Error(`${path} is damaged`);
      return text;
    });
    const until = async (isDone: (value: string) => boolean) => {
      while (!isDone(await files.current())) await pause();
    };
    assertEquals(await files.current(), "one");
    await write("two");
    await until((value) => value === "two");
    await write("damaged");
    await until(() => log.lines.length === 2);
    assertEquals(await files.current(), "two");
    await Deno.remove(path);
    await until(() => log.lines.length === 3);
    assertEquals(await files.current(), "two");
    await write("three");
    await until((value) => value === "three");
    assertEquals(log.lines.map((line) => line.replaceAll(path, "PATH").split(" (os")[0]), [
      "I Read PATH again after a change",
      "W PATH is damaged; the content from before the change stays in use",
      "W No such file or directory",
      "I Read PATH again after a change",
    ]);
  } finally {
    await Deno.remove(path);
  }
});

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 50));
}

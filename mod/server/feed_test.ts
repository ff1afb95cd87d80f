import { assertEquals, assertRejects } from "@std/assert";
import { StoreError } from "../store/mod.ts";
import { Feed } from "./feed.ts";

Deno.test("Feed follows nothing after it was disposed of, though a reading was answered", async () => {
  const answer = Promise.withResolvers<{ cursor: string }>();
  let followed = 0;
  const feed = new Feed(
    {
      snapshot: () => answer.promise,
      // deno-lint-ignore require-yield -- it is not to be asked
      async *watch() {
        await Promise.resolve(followed++);
      },
    },
    { replace: () => ["all"], apply: () => undefined },
  );
  const reading = feed.read();
  await Promise.resolve();
  answer.resolve({ cursor: "1" });
  feed[Symbol.dispose]();
  await assertRejects(() => reading, StoreError, "shutting down");
  assertEquals([followed, feed.isLive], [0, false]);
});

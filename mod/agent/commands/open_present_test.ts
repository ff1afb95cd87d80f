import { assert, assertEquals, assertRejects } from "@std/assert";
import { type NetworkStore, StoreFileError } from "../../store/mod.ts";
import { type Opened, openStore } from "../../store/open.ts";
import { openPresent } from "./open_present.ts";

function storeOf(opened: Opened): NetworkStore {
  if ("store" in opened) return opened.store;
  throw new Error(opened.waiting);
}

Deno.test("openPresent() makes no file of an embedded store, and writes one that is there", async () => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/deep/leases.db`;
  const options = { kind: "embedded", path } as const;
  const call = { signal: new AbortController().signal };
  try {
    await assertRejects(() => openPresent(options, call), StoreFileError, `${path} is not there`);
    assertEquals([...Deno.readDirSync(directory)], []);
    await storeOf(await openStore(options))[Symbol.asyncDispose]();
    await using store = storeOf(await openPresent(options, call));
    await store.putConfig('{"Network": "10.20.0.0/16"}', undefined, call);
    assert("text" in (await store.snapshot(call)).config);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

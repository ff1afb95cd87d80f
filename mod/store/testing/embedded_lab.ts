import { libc } from "../../sys/mod.ts";
import { openEmbedded } from "./open_lab.ts";
import { type FileUse, openFile } from "../embedded/open.ts";
import type { StoreLab } from "./store_lab.ts";

// The library stays loaded, which is no leak of the first test that needs it.
libc();

/** A file of an embedded store, and the hand of an operator, who writes it from another connection. */
export function makeEmbeddedLab(): StoreLab {
  const directory = Deno.makeTempDirSync({ prefix: "embedded-" });
  const path = `${directory}/leases.db`;
  // As an agent of its own that stays: leases run out in it.
  const owner = openFile(path, { owner: true });
  const beside = <T>(step: (use: FileUse) => T): Promise<T> => {
    using use = openFile(path, {});
    return Promise.resolve(step(use));
  };
  return {
    endpoint: path,
    open: (prefix) =>
      openEmbedded({ kind: "embedded", path, network: prefix.slice(1) }, { owner: true }),
    put: (key, value, ttl = 0) => beside(({ file }) => void file.put(key, value, ttl)),
    get: (key) => beside(({ file }) => file.read(key)?.value),
    delete: (key) => beside(({ file }) => file.delete(key)),
    deleteTree: (key) => beside(({ file }) => file.deleteTree(key)),
    makeEmpty: (key) => beside(({ file }) => void file.put(key, "", 0)),
    loseHistory: () =>
      beside(({ file }) => {
        for (let i = 0; i < 11_000; i++) file.put("/noise", `${i}`, 0);
      }),
    [Symbol.asyncDispose]: async () => {
      owner[Symbol.dispose]();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

import { assertEquals, assertThrows } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { EmbeddedDatabase } from "./database.ts";
import { StoreFileError } from "../errors.ts";

async function withDirectory(body: (directory: string) => void): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "embedded-" });
  try {
    body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function refusal(path: string, options: Parameters<typeof EmbeddedDatabase.open>[1] = {}): string {
  const { message } = assertThrows(() => EmbeddedDatabase.open(path, options), StoreFileError);
  assertEquals(message.includes("\n"), false, message);
  assertEquals(message.includes(path), true, message);
  return message.replace(path, "PATH");
}

Deno.test("EmbeddedDatabase.open() says in a line what a file is that is no store", () =>
  withDirectory((directory) => {
    const path = `${directory}/leases.db`;
    assertEquals(
      refusal(path, { readOnly: true }),
      "PATH is not there: an agent with -store embedded makes it",
    );
    Deno.writeTextFileSync(path, "FLANNEL_NETWORK=10.20.0.0/16\n".repeat(100));
    assertEquals(
      refusal(path),
      "PATH is not a database: give -store embedded=PATH the path of a new file, or move this one away",
    );
    assertEquals(
      refusal(directory),
      "cannot use PATH: unable to open database file",
    );

    const foreign = `${directory}/foreign.db`;
    const db = new DatabaseSync(foreign);
    db.exec("CREATE TABLE contacts (name TEXT)");
    db.close();
    assertEquals(
      refusal(foreign),
      "PATH is a database of another program: give -store embedded=PATH another path",
    );
    // And it is as it was.
    const again = new DatabaseSync(foreign);
    assertEquals(again.prepare("PRAGMA journal_mode").get()!.journal_mode, "delete");
    again.close();
  }));

Deno.test("EmbeddedDatabase.open() shuts the file to other users, and leaves another program's alone", () =>
  withDirectory((directory) => {
    const modeOf = (path: string) => Deno.statSync(path).mode! & 0o777;
    const path = `${directory}/leases.db`;
    EmbeddedDatabase.open(path)[Symbol.dispose]();
    assertEquals(modeOf(path), 0o600);
    Deno.chmodSync(path, 0o644);
    using _db = EmbeddedDatabase.open(path);
    for (const file of [path, `${path}-wal`, `${path}-shm`]) {
      assertEquals(modeOf(file), 0o600, file);
    }

    const foreign = `${directory}/foreign.db`;
    const db = new DatabaseSync(foreign);
    db.exec("CREATE TABLE contacts (name TEXT)");
    db.close();
    Deno.chmodSync(foreign, 0o644);
    refusal(foreign);
    assertEquals(modeOf(foreign), 0o644);
  }));

Deno.test("EmbeddedDatabase.open() refuses the file of a newer version", () =>
  withDirectory((directory) => {
    const path = `${directory}/leases.db`;
    EmbeddedDatabase.open(path)[Symbol.dispose]();
    const db = new DatabaseSync(path);
    db.exec("PRAGMA user_version = 99");
    db.close();
    assertEquals(
      refusal(path),
      "PATH was written by a newer flanneld (format 99, this one knows up to 1): run that " +
        "version, or move the file away to start with an empty one",
    );
  }));

Deno.test("EmbeddedDatabase.open() finds damage anywhere in the file", () =>
  withDirectory((directory) => {
    const path = `${directory}/leases.db`;
    {
      using db = EmbeddedDatabase.open(path);
      db.transaction(() => {
        for (let i = 0; i < 500; i++) {
          db.get(
            "INSERT INTO history (revision, key, value, ttl) VALUES (?, ?, ?, 0)",
            ...[i, `/_/subnets/10.20.${i}.0-24`, "x".repeat(100)],
          );
        }
      });
    }
    const { size } = Deno.statSync(path);
    for (const share of [0.3, 0.6, 0.9]) {
      const bad = `${directory}/bad.db`;
      const bytes = Deno.readFileSync(path);
      const page = Math.floor(size * share / 4096) * 4096;
      bytes.fill(0xa5, page, page + 4096);
      Deno.writeFileSync(bad, bytes);
      const message = refusal(bad, { check: true });
      assertEquals(/^PATH is damaged \(.*\): move it away and start again/.test(message), true);
    }
    const cut = `${directory}/cut.db`;
    Deno.writeFileSync(cut, Deno.readFileSync(path).subarray(0, size / 2));
    assertEquals(refusal(cut, { check: true }).startsWith("PATH is damaged"), true);
  }));

Deno.test("EmbeddedDatabase.transaction() takes everything back when a step throws", () =>
  withDirectory((directory) => {
    using db = EmbeddedDatabase.open(`${directory}/leases.db`);
    assertThrows(
      () =>
        db.transaction(() => {
          db.get("UPDATE state SET revision = 7");
          throw new RangeError("enough");
        }),
      RangeError,
      "enough",
    );
    assertEquals(db.revision, 0);
    db.transaction(() => db.get("UPDATE state SET revision = 8"));
    assertEquals(db.revision, 8);
  }));

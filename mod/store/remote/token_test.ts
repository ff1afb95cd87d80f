import { assert, assertEquals, assertRejects } from "@std/assert";
import { ConfigError } from "../../config/errors.ts";
import { readRemoteToken } from "./token.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";

Deno.test("readRemoteToken() reads a file that is the owner's alone", async () => {
  const path = await Deno.makeTempFile({ prefix: "token-" });
  try {
    for (const mode of [0o600, 0o400]) {
      await Deno.writeTextFile(path, `${TOKEN}\n`);
      await Deno.chmod(path, mode);
      assertEquals(await readRemoteToken(path), TOKEN);
    }
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("readRemoteToken() refuses in one line what others can read, and what is no token", async () => {
  const path = await Deno.makeTempFile({ prefix: "token-" });
  const cases: readonly (readonly [string, number, string])[] = [
    [TOKEN, 0o644, "mode 0644 opens the token to other users; chmod 600 it"],
    [TOKEN, 0o640, "mode 0640 opens the token to other users"],
    [TOKEN, 0o602, "mode 0602 opens the token to other users"],
    ["", 0o600, "expected one token of 16 to 512"],
    ["short", 0o600, "expected one token"],
    [`${TOKEN} ${TOKEN}`, 0o600, "expected one token"],
    [`${TOKEN}\r\nX: y`, 0o600, "expected one token"],
    ["a".repeat(2_000), 0o600, "expected one token"],
  ];
  try {
    for (const [text, mode, words] of cases) {
      await Deno.writeTextFile(path, text);
      await Deno.chmod(path, mode);
      const { message } = await assertRejects(() => readRemoteToken(path), ConfigError, words);
      assert(message.startsWith(`-remote-token-file ${path}: `), message);
      assert(!message.includes("\n") && !message.includes(TOKEN), message);
    }
  } finally {
    await Deno.remove(path);
  }
  await assertRejects(() => readRemoteToken("/none/token"), ConfigError, "no such file");
  await assertRejects(() => readRemoteToken("/dev/zero"), ConfigError, "is not a regular file");
});

Deno.test("readRemoteToken() refuses a file of another user, and takes one of root or of its own", async () => {
  const path = await Deno.makeTempFile({ prefix: "token-" });
  try {
    await Deno.writeTextFile(path, TOKEN);
    await Deno.chmod(path, 0o600);
    assertEquals(await readRemoteToken(path), TOKEN);
    // Only root may give files away; another user's own files are the case above.
    if (Deno.uid() !== 0) return;
    await Deno.chown(path, 65534, 65534);
    const { message } = await assertRejects(() => readRemoteToken(path), ConfigError);
    assertEquals(
      message,
      `-remote-token-file ${path}: belongs to user 65534, who can replace the token; chown it to root`,
    );
  } finally {
    await Deno.remove(path);
  }
});

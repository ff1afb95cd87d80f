/**
 * Transfers bytes by TCP, for tests of the udp data paths: `receive ADDRESS PORT` prints "listening", accepts one
 * connection and prints the SHA-256 of the received bytes; `send ADDRESS PORT MEGABYTES` sends random bytes and prints
 * their SHA-256. Without MEGABYTES it prints "sending" first, and sends until SIGTERM.
 *
 * @module
 */
import { createHash } from "node:crypto";

const [mode, hostname, port, megabytes] = Deno.args;
const address = { hostname: hostname!, port: Number(port) };
const hash = createHash("sha256");

if (mode === "receive") {
  const listener = Deno.listen(address);
  console.log("listening");
  const connection = await listener.accept();
  for await (const chunk of connection.readable) hash.update(chunk);
} else {
  const connection = await Deno.connect(address);
  const writer = connection.writable.getWriter();
  let blocks = Number(megabytes ?? Infinity) * 16;
  if (megabytes === undefined) {
    Deno.addSignalListener("SIGTERM", () => blocks = 0);
    console.log("sending");
  }
  for (let i = 0; i < blocks; i++) {
    const chunk = crypto.getRandomValues(new Uint8Array(1 << 16));
    hash.update(chunk);
    await writer.write(chunk);
  }
  await writer.close();
}
console.log(hash.digest("hex"));

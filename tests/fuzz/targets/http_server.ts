import { assert, assertEquals } from "@std/assert";
import { configureLog } from "../../../mod/observe/log/log.ts";
import { serveLeases } from "../../../mod/server/server.ts";
import { encodePut } from "../../../mod/store/remote/wire.ts";
import { makeEmbeddedLab } from "../../../mod/store/testing/embedded_lab.ts";
import { libc } from "../../../mod/sys/mod.ts";
import { bytesNear } from "../mutate.ts";
import { sendBytes } from "../peer.ts";
import type { FuzzTarget } from "../target.ts";
import { LEASE_VALUES, NODE_RECORDS } from "./lease_values.ts";

const encode = (text: string) => new TextEncoder().encode(text);

function request(method: string, target: string, body = "", type = "application/json"): Uint8Array {
  const lines = [
    `${method} ${target} HTTP/1.1`,
    "Host: 127.0.0.1:8888",
    `Content-Type: ${type}`,
    `Content-Length: ${encode(body).length}`,
  ];
  return encode(`${lines.join("\r\n")}\r\n\r\n${body}`);
}

const CONFIG = '{"Network":"10.73.0.0/16"}';
const put = (value: string) => encodePut({ value, ttl: 60, expect: "absent" });

const SEEDS: readonly Uint8Array[] = [
  request("GET", "/v1/networks?next=1"),
  request("GET", "/v1/_/store"),
  request("GET", "/v1/_/store/version"),
  request("GET", "/v1/_/store?next=1"),
  request("PUT", "/v1/_/store/subnets/10.73.4.0-24", put(LEASE_VALUES[2])),
  request("PUT", "/v1/_/store/agents/127.0.0.1", put(NODE_RECORDS[0])),
  request("PUT", "/v1/_/store/config", put("{}")),
  request("DELETE", "/v1/_/store/config?revision=1"),
  encode(
    "PUT /v1/_/store/config HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n" +
      "5\r\nhello\r\n0\r\n\r\n",
  ),
  encode(
    "PUT /v1/_/store/config HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
  ),
];

/**
 * `-listen` without a token: any bytes get answers of HTTP or none, the config stays as it is, no line of the log holds
 * a control character, and the next client is served.
 */
export const httpServer: FuzzTarget<Uint8Array> = {
  name: "http_server",
  seeds: SEEDS,
  inputs: bytesNear(SEEDS, 500),
  start: async (stack) => {
    libc();
    const lines: string[] = [];
    const before = configureLog({ format: "glog", write: (line) => void lines.push(line) });
    stack.defer(() => void configureLog(before));
    const lab = stack.use(makeEmbeddedLab());
    await lab.put("/_/config", CONFIG);
    const stop = new AbortController();
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const done = serveLeases({
      connections: listener,
      networks: { open: (network) => lab.open(`/${network}`) },
      signal: stop.signal,
      limits: { arrival: 2_000, idle: 2_000, departure: 2_000 },
    });
    stack.defer(async () => {
      stop.abort();
      await done;
    });
    const { port } = listener.addr;
    const good = encode(
      "GET /v1/_/store HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    );
    return async (bytes) => {
      lines.length = 0;
      const reply = new TextDecoder().decode(await sendBytes(port, bytes));
      assert(reply === "" || /^HTTP\/1\.1 \d{3} /.test(reply), `not HTTP: ${reply.slice(0, 80)}`);
      for (const line of lines) {
        assert(!/\p{Cc}/u.test(line.trimEnd()), `control character in ${JSON.stringify(line)}`);
        assert(!/panic|TypeError|RangeError|\bat file:/.test(line), line);
      }
      const next = new TextDecoder().decode(await sendBytes(port, good));
      assert(next.startsWith("HTTP/1.1 200 "), `the next client gets ${next.slice(0, 80)}`);
      assertEquals(await lab.get("/_/config"), CONFIG);
    };
  },
};

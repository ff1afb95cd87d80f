import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../errors.ts";
import { parseCommandLine } from "./parse.ts";

function options(args: readonly string[]) {
  const line = parseCommandLine(args, {});
  if (line.command !== "agent") throw new Error(line.command);
  return line.agent.options;
}

Deno.test("remoteOptions() reads servers and files", () => {
  const { store } = options([
    ...["-remote=a:1, [fd00::1]:8888", "-remote-cafile=/ca.pem"],
    ...["-remote-certfile=/c.pem", "-remote-keyfile=/k.pem", "-remote-token-file=/token"],
  ]);
  assertEquals<unknown>(store, {
    kind: "remote",
    servers: ["a:1", "[fd00::1]:8888"],
    ...{ caFile: "/ca.pem", certFile: "/c.pem", keyFile: "/k.pem", tokenFile: "/token" },
  });
});

Deno.test("listenOptions() reads flannel's forms of an address", () => {
  const cases = [
    ["10.0.0.1:8888", { hostname: "10.0.0.1", port: 8888 }],
    [":8888", { hostname: "0.0.0.0", port: 8888 }],
    ["tcp://[::1]:80", { hostname: "::1", port: 80 }],
    ["fd://", { descriptor: 3 }],
    ["fd://5", { descriptor: 5 }],
  ] as const;
  for (const [text, address] of cases) {
    const args = [`-listen=${text}`, "-listen-allow-unauthenticated"];
    assertEquals<unknown>(options(args).listen, { address });
  }
  const { listen } = options(["-listen=:8888", "-remote-token-file=/token"]);
  assertEquals(listen?.tokenFile, "/token");
});

Deno.test("client/server mode names values that cannot be used, and right ones", () => {
  const cases: readonly (readonly [readonly string[], string, number])[] = [
    [["-listen=:8888", "-remote=a:1"], "--listen and --remote are mutually exclusive", 2],
    [
      ["-remote=a"],
      'invalid value "a" for flag -remote: expected host:port, such as 172.28.128.100:8888',
      2,
    ],
    [
      ["-remote=http://a:1"],
      'invalid value "http://a:1" for flag -remote: expected host:port, such as 172.28.128.100:8888',
      2,
    ],
    [
      ["-listen=x"],
      'invalid value "x" for flag -listen: expected host:port, such as 0.0.0.0:8888, or fd:// for a socket of systemd\'s',
      2,
    ],
    [
      ["-listen=fd://2"],
      'invalid value "fd://2" for flag -listen: expected host:port, such as 0.0.0.0:8888, or fd:// for a socket of systemd\'s',
      2,
    ],
    [
      ["-listen=:0"],
      'invalid value ":0" for flag -listen: expected host:port, such as 0.0.0.0:8888, or fd:// for a socket of systemd\'s',
      2,
    ],
    [
      ["-remote=a:1", "-store=embedded"],
      'invalid value "embedded" for flag -store: with -remote the store is the server\'s: give one of both',
      2,
    ],
    [
      ["-remote=a:1", "-remote-certfile=/c"],
      'invalid value "/c" for flag -remote-certfile: it needs its key: give -remote-keyfile too',
      2,
    ],
    [
      ["-listen=:1"],
      'invalid value ":1" for flag -listen: without credentials any client could read the store and take subnets: give -remote-token-file, or -remote-cafile for client certificates, or -listen-allow-unauthenticated to serve every client',
      2,
    ],
    ...[
      ["-remote-token-file=/t"],
      ["-remote-cafile=/c", "-remote-certfile=/s", "-remote-keyfile=/k"],
    ].map((credentials) =>
      [
        ["-listen=:1", "-listen-allow-unauthenticated", ...credentials],
        `invalid value "true" for flag -listen-allow-unauthenticated: ${
          credentials[0]!.split("=")[0]
        } is given, which refuses such clients: give one of both`,
        2,
      ] as const
    ),
    [
      ["-listen=:1", "-remote-keyfile=/k"],
      'invalid value "/k" for flag -remote-keyfile: give -remote-certfile too',
      2,
    ],
    [
      ["-listen=:1", "-remote-cafile=/c"],
      'invalid value "/c" for flag -remote-cafile: a server needs a certificate of its own to demand client certificates: give -remote-certfile and -remote-keyfile too',
      2,
    ],
  ];
  for (const [args, message, exitCode] of cases) {
    const error = assertThrows(() => options(args), UsageError);
    assertEquals([error.message, error.exitCode], [message, exitCode]);
  }
});

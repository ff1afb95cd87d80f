import { assertEquals, assertThrows } from "@std/assert";
import { agentOptions, idleOptions } from "./agent_options.ts";
import { resolveSettings } from "./environment.ts";
import { UsageError } from "../errors.ts";
import { parseFlags } from "./flag_syntax.ts";
import { flagNamed } from "./flags.ts";
import { etcdOf } from "../testing/options_lab.ts";

function optionsOf(...args: string[]) {
  const { flags } = parseFlags(args, (name) => flagNamed(name)?.kind);
  return agentOptions(resolveSettings(flags, {}).settings);
}

const refused = (...args: string[]) => assertThrows(() => optionsOf(...args), UsageError).message;

Deno.test("agentOptions() reads a list of endpoints, spaces and trailing slashes aside", () => {
  const read = (text: string) => etcdOf(optionsOf(`-etcd-endpoints=${text}`)).endpoints;
  assertEquals(read("http://172.28.128.100:2379"), ["http://172.28.128.100:2379"]);
  assertEquals(read(" http://a:1/ , https://B.example,"), ["http://a:1", "https://b.example"]);
  assertEquals(read("http://[fd00::1]:2379"), ["http://[fd00::1]:2379"]);
  assertEquals(read("http://proxy/etcd/"), ["http://proxy/etcd"]);
});

Deno.test("agentOptions() refuses endpoints that are no URLs of etcd", () => {
  const cases: [string, string][] = [
    [
      "",
      '"" for flag -etcd-endpoints: expected a URL such as http://127.0.0.1:2379, or several ' +
      "with commas between",
    ],
    [
      "172.28.128.100:2379",
      '"172.28.128.100:2379" for flag -etcd-endpoints: expected an http:// or https:// URL such ' +
      "as http://172.28.128.100:2379",
    ],
    [
      "unix:///run/etcd",
      '"unix:///run/etcd" for flag -etcd-endpoints: expected an http:// or https:// URL such as ' +
      "http://127.0.0.1:2379",
    ],
    [
      "http://a:1,http://b:port",
      '"http://b:port" for flag -etcd-endpoints: not a URL: expected one such as ' +
      "http://127.0.0.1:2379",
    ],
    [
      "http://a:1 http://b:1",
      '"http://a:1 http://b:1" for flag -etcd-endpoints: not a URL: expected one such as ' +
      "http://127.0.0.1:2379",
    ],
    [
      "http://a:1/?q",
      '"http://a:1/" for flag -etcd-endpoints: expected no query and no fragment behind it',
    ],
  ];
  for (const [text, message] of cases) {
    assertEquals(refused(`-etcd-endpoints=${text}`), `invalid value ${message}`);
  }
  assertEquals(
    refused("-etcd-endpoints=http://proxy/etcd", "-etcd-api=v3"),
    'invalid value "http://proxy/etcd" for flag -etcd-endpoints: ' +
      "etcd's v3 API has no path in its URL: expected http://proxy",
  );
  assertEquals(
    refused("-etcd-endpoints=http://a:2379/v2/keys"),
    'invalid value "http://a:2379/v2/keys" for flag -etcd-endpoints: ' +
      "etcd's API adds its own path: expected http://a:2379",
  );
});

Deno.test("agentOptions() never shows credentials of a URL", () => {
  for (
    const text of [
      "http://root:SECRET@a:2379",
      "http://root:SECRET@a:port",
      "http://root:SE/CRET@SECRET@a:2379/x@y",
      "root:SECRET@a:2379",
      "unix://root:SECRET@a",
      "http://root:SECRET@a:2379/?x#y",
      "http://root:SECRET@a b",
    ]
  ) {
    const message = refused(`-etcd-endpoints=${text}`);
    assertEquals(/SE|CRET|root/.test(message), false, message);
  }
});

Deno.test("agentOptions() brings the prefix into one form", () => {
  const read = (text: string) => etcdOf(optionsOf(`-etcd-prefix=${text}`)).prefix;
  assertEquals(read("/flannel/network"), "/flannel/network");
  assertEquals(read("flannel//network/"), "/flannel/network");
  for (const text of ["", "/", "//", "/a/../b", "/a/."]) {
    assertEquals(
      refused(`-etcd-prefix=${text}`),
      `invalid value "${text}" for flag -etcd-prefix: ` +
        "expected the path of a directory, such as /coreos.com/network",
    );
  }
});

Deno.test("agentOptions() wants certificate and key together", () => {
  assertEquals(
    refused("-etcd-certfile=/c.pem"),
    'invalid value "/c.pem" for flag -etcd-certfile: it needs its key: give -etcd-keyfile too',
  );
  assertEquals(
    refused("-etcd-keyfile=/k.pem"),
    'invalid value "/k.pem" for flag -etcd-keyfile: ' +
      "it needs its certificate: give -etcd-certfile too",
  );
});

Deno.test("agentOptions() reads the ranges of -allowed-networks", () => {
  const allowed = (text: string) =>
    optionsOf(`-allowed-networks=${text}`).allowedNetworks.map(String);
  assertEquals(allowed(""), []);
  assertEquals(allowed("198.18.0.0/15"), ["198.18.0.0/15"]);
  assertEquals(allowed("198.18.0.0/15, 8.8.0.0/16"), ["198.18.0.0/15", "8.8.0.0/16"]);
  for (const [text, word] of [["8.0.0.0", "8.0.0.0"], ["8.0.0.0/8,", ""], ["x/8", "x/8"]]) {
    assertEquals(
      refused(`-allowed-networks=${text}`),
      `invalid value "${text}" for flag -allowed-networks: ${JSON.stringify(word)} is no range: ` +
        "expected for example 198.18.0.0/15",
    );
  }
});

Deno.test("agentOptions() reads addresses of hosts", () => {
  for (const name of ["public-ip", "iface-can-reach"]) {
    for (const text of ["zzz", "10.0.0", "10.0.0.256", "010.0.0.1", "10.0.0.1/24", "host"]) {
      assertEquals(
        refused(`-${name}=${text}`),
        `invalid value "${text}" for flag -${name}: expected an IPv4 address such as 172.28.128.101`,
      );
    }
    for (const text of ["0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.9", "255.255.255.255"]) {
      assertEquals(
        refused(`-${name}=${text}`),
        `invalid value "${text}" for flag -${name}: no host can have this address: ` +
          "expected an IPv4 address such as 172.28.128.101",
      );
    }
    assertEquals(
      refused(`-${name}=fd00::1`),
      `invalid value "fd00::1" for flag -${name}: IPv6 is not there yet: ` +
        "expected an IPv4 address such as 172.28.128.101",
    );
  }
  assertEquals(
    refused("-iface=fe80::1"),
    'invalid value "fe80::1" for flag -iface: IPv6 is not there yet: ' +
      "expected an IPv4 address or a name",
  );
  assertEquals(optionsOf("-public-ip=169.254.7.9").interface.publicIP, 0xa9fe0709);
  assertEquals(optionsOf("-iface=a:b").interface.ifaces, ["a:b"], "an interface alias");
});

Deno.test("agentOptions() leaves out empty interfaces and expressions", () => {
  assertEquals(optionsOf("-iface=", "-iface=eth1", "-iface-regex=").interface, {
    ifaces: ["eth1"],
    regexes: [],
  });
});

Deno.test("agentOptions() compiles expressions of JavaScript's syntax", () => {
  const { regexes } = optionsOf("-iface-regex=^eth[0-9]+$", "-iface-regex=(?i:ETH)1").interface;
  assertEquals(
    regexes.map((regex) => ["eth1", "veth1", "eth"].filter((name) => regex.test(name))),
    [
      ["eth1"],
      ["eth1", "veth1"],
    ],
  );
});

Deno.test("agentOptions() refuses an expression that is none, and what Go alone knows", () => {
  const reasons = {
    "eth(": "unterminated group",
    "(?i)eth": "invalid group",
    "(?P<name>eth)": "invalid group",
    "\\Aeth\\z": "invalid escape",
    "\\Qeth.1\\E": "invalid escape",
    "[[:alpha:]]+": "lone quantifier brackets",
  };
  for (const [text, reason] of Object.entries(reasons)) {
    assertEquals(
      refused(`-iface-regex=${text}`),
      `invalid value ${JSON.stringify(text)} for flag -iface-regex: not a regular expression: ` +
        `${reason}; expected JavaScript's syntax, for example ^eth[0-9]+$ or (?i:eth)1`,
    );
  }
});

Deno.test("agentOptions() reads the health endpoint's address", () => {
  for (const ip of ["127.0.0.1", "0.0.0.0", "::", "::1"]) {
    assertEquals(optionsOf(`-healthz-ip=${ip}`).healthz.ip, ip);
  }
  for (const text of ["", "localhost", "1.2.3", "::x", "[::1]"]) {
    assertEquals(
      refused(`-healthz-ip=${text}`),
      `invalid value "${text}" for flag -healthz-ip: ` +
        "expected an address of this host, 127.0.0.1 or 0.0.0.0",
    );
  }
});

Deno.test("agentOptions() wants the path of a file to write", () => {
  for (const text of ["", "/run/flannel/", ".", "..", "/run/.."]) {
    assertEquals(
      refused(`-subnet-file=${text}`),
      `invalid value "${text}" for flag -subnet-file: ` +
        "expected the path of a file, such as /run/flannel/subnet.env",
    );
  }
  assertEquals(
    refused("-subnet-file=subnet.env"),
    'invalid value "subnet.env" for flag -subnet-file: expected a path that begins with /',
  );
  assertEquals(
    refused("-subnet-file=/etc"),
    'invalid value "/etc" for flag -subnet-file: it is a directory: expected /etc/subnet.env',
  );
});

Deno.test("idleOptions() reports a password without a user, and of TLS files without TLS", () => {
  const idle = (...args: string[]) => idleOptions(optionsOf(...args));
  assertEquals(idle("-etcd-password=SECRET"), [
    "flag -etcd-password has no effect without -etcd-username",
  ]);
  assertEquals(idle("-etcd-cafile=/ca.pem"), [
    "file /ca.pem has no effect: no URL of -etcd-endpoints begins with https://",
  ]);
  assertEquals(
    idle(
      "-etcd-password=SECRET",
      "-etcd-username=root",
      "-etcd-cafile=/ca.pem",
      "-etcd-endpoints=http://a:1,https://b:1",
    ),
    [],
  );
});

Deno.test("idleOptions() reports a range that none of several networks can have", () => {
  const idle = (...args: string[]) =>
    idleOptions(optionsOf("-store=embedded", "-network=10.20.0.0/16", ...args));
  const line = "flag -network has no effect unless -networks names one network alone";
  assertEquals(idle("-watch-networks"), [line]);
  assertEquals(idle("-networks=a,b"), [line]);
  assertEquals(idle("-networks=a"), []);
  assertEquals(idle(), []);
});

Deno.test("idleOptions() reports a prefix that is the config's own key", () => {
  const idle = (prefix: string) => idleOptions(optionsOf(`-etcd-prefix=${prefix}`));
  assertEquals(idle("/coreos.com/network/config/"), [
    "flag -etcd-prefix=/coreos.com/network/config has the config at " +
    "/coreos.com/network/config/config: for a config at /coreos.com/network/config give " +
    "-etcd-prefix=/coreos.com/network",
  ]);
  for (const prefix of ["/config", "/configs", "/config/network"]) assertEquals(idle(prefix), []);
});

Deno.test("idleOptions() reports a subnet file that none of several networks has", () => {
  const idle = (...args: string[]) => idleOptions(optionsOf(...args));
  const file = "-subnet-file=/run/blue.env";
  const line = "flag -subnet-file=/run/blue.env is for one network: of several each has its own " +
    "file in /run/n (-subnet-dir)";
  assertEquals(idle(file, "-networks=a,b", "-subnet-dir=/run/n/"), [line]);
  assertEquals(idle(file, "-watch-networks", "-subnet-dir=/run/n"), [line]);
  assertEquals(idle(file), []);
  assertEquals(idle("-subnet-file=/run/flannel/subnet.env", "-networks=a"), []);
});

Deno.test("agentOptions() takes a socket's path from / alone", () => {
  assertEquals(
    refused("-status-socket=relative"),
    'invalid value "relative" for flag -status-socket: expected auto, none or a path such as ' +
      "/run/flanneld.sock",
  );
  assertEquals(optionsOf("-status-socket=/run/x.sock").status.socket, "/run/x.sock");
});

Deno.test("agentOptions() serves one network unless several are asked for", () => {
  assertEquals(optionsOf().networks, undefined);
  assertEquals(optionsOf("-networks= ").networks, undefined);
  assertEquals(optionsOf("-networks=b, a,b", "-subnet-dir=/run/n/").networks, {
    allowed: ["b", "a"],
    watch: false,
    directory: "/run/n",
  });
  assertEquals(optionsOf("-watch-networks").networks, {
    allowed: [],
    watch: true,
    directory: "/run/flannel/networks",
  });
  assertEquals(
    refused("-networks=blue,a/b"),
    'invalid value "blue,a/b" for flag -networks: "a/b" cannot name a network: expected letters, ' +
      "digits and . _ ~ -",
  );
  for (const text of ["a,,b", "a,", ",", "a, ,b"]) {
    assertEquals(
      refused(`-networks=${text}`),
      `invalid value "${text}" for flag -networks: a name is missing before or behind a comma: ` +
        "expected names with a comma between two",
    );
  }
  assertEquals(
    refused("-watch-networks", "-subnet-dir=/"),
    'invalid value "/" for flag -subnet-dir: expected the path of a directory, such as ' +
      "/run/flannel/networks",
  );
});

Deno.test("idleOptions() reports Docker's networks without masquerading", () => {
  assertEquals(idleOptions(optionsOf("-docker-plugin")), [
    "flag -docker-plugin without -ip-masq: containers of flannel networks reach no address " +
    "outside the network",
  ]);
  assertEquals(idleOptions(optionsOf("-docker-plugin", "-ip-masq")), []);
});

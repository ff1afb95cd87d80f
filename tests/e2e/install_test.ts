import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { dirname } from "@std/path";
import { sha256 } from "../../scripts/build/runtime.ts";
import { VERSION } from "../../mod/version.ts";
import { makeBusyboxRoot } from "../lab/busybox_root.ts";
import { makeCertificates } from "../lab/certificates.ts";
import { FLANNELD } from "../lab/executable.ts";
import { Lab } from "../lab/lab.ts";
import { LabEtcd } from "../lab/etcd/lab_etcd.ts";
import { writeLabRelease } from "../lab/release.ts";
import { CONFIG, PREFIX } from "./guide.ts";

const ROOT = new URL("../../", import.meta.url).pathname.replace(/\/$/, "");
const INSTALL = `${ROOT}/scripts/install.sh`;
const TARBALL = `flanneld-${VERSION}-linux-x86_64.tar.gz`;

const BUNDLED_TARBALL = TARBALL.replace(".tar.gz", "-bundled.tar.gz");

/** The shells that a host may have for /bin/sh. */
const SHELLS = [["dash"], ["busybox", "sh"], ["bash", "--posix"]] as const;

/** Required files of an installation in /usr. */
const FILES = [
  "/etc/sysconfig/flanneld",
  "/etc/ufw/applications.d/flanneld",
  "/usr/bin/flanneld",
  "/usr/lib/NetworkManager/conf.d/90-flanneld.conf",
  "/usr/lib/firewalld/services/flannel-ipip.xml",
  "/usr/lib/firewalld/services/flannel-udp.xml",
  "/usr/lib/firewalld/services/flannel-vxlan.xml",
  "/usr/lib/systemd/network/00-flanneld.network",
  "/usr/lib/systemd/system/docker.service.d/flannel.conf",
  "/usr/lib/systemd/system/flanneld.service",
  "/usr/libexec/flannel/mk-docker-opts.sh",
  "/usr/share/doc/flanneld/LICENSE",
  "/usr/share/doc/flanneld/THIRD-PARTY-LICENSES",
  "/usr/share/doc/flanneld/docs/guide.md",
];

const work = await Deno.makeTempDir({ prefix: "flanneld-install-test-" });
globalThis.addEventListener("unload", () => Deno.removeSync(work, { recursive: true }));
const RELEASE = `${work}/release`;
await writeLabRelease(RELEASE);

/** Takes the executable's place where a test does not need it. */
const STUB = `#!/bin/sh\necho ${VERSION}\n`;

interface Result {
  readonly code: number;
  readonly output: string;
}

async function run(command: readonly string[], env: Record<string, string> = {}): Promise<Result> {
  const [name, ...args] = command as [string, ...string[]];
  const { code, stdout, stderr } = await new Deno.Command(name, {
    args,
    env,
    stdin: "null",
    signal: AbortSignal.timeout(60_000),
  }).output();
  const decoder = new TextDecoder();
  return { code, output: decoder.decode(stdout) + decoder.decode(stderr) };
}

/**
 * Writes a release as the real one, but for the executable and the libraries, which are short scripts.
 *
 * @param options `extra`: paths of further files; `hasDocs`: whether it has the documents
 */
async function smallRelease(
  { extra = [], hasDocs = false }: { extra?: readonly string[]; hasDocs?: boolean } = {},
): Promise<string> {
  const dir = await Deno.makeTempDir({ dir: work });
  const sums: string[] = [];
  for (const name of [TARBALL, BUNDLED_TARBALL]) {
    const tree = `${dir}/${name.replace(".tar.gz", "")}`;
    const skipped = ["usr/bin/flanneld", "*.so*", ...hasDocs ? [] : ["usr/share"]];
    await run([
      ...["tar", "-xzf", `${RELEASE}/${name}`, "-C", dir],
      ...skipped.map((path) => `--exclude=${path}`),
    ]);
    await Deno.mkdir(`${tree}/usr/bin`, { recursive: true });
    const scripts = ["usr/bin/flanneld"];
    if (name === BUNDLED_TARBALL) {
      scripts.push("usr/lib/flanneld/ld.so", "usr/lib/flanneld/libc.so.6");
    }
    for (const path of scripts) await Deno.writeTextFile(`${tree}/${path}`, STUB, { mode: 0o755 });
    for (const path of extra) {
      await Deno.mkdir(dirname(`${tree}/${path}`), { recursive: true });
      await Deno.writeTextFile(`${tree}/${path}`, `${path}\n`);
    }
    await run(["tar", "-czf", `${dir}/${name}`, "-C", dir, name.replace(".tar.gz", "")]);
    sums.push(`${await sha256(`${dir}/${name}`)}  ${name}\n`);
  }
  await Deno.writeTextFile(`${dir}/SHA256SUMS`, sums.join(""));
  return dir;
}

/** Small release that the tests of install.sh install; the real one is for the tests of packages, below. */
const SMALL = await smallRelease({ hasDocs: true });

/** An empty root, and a directory for temporary files that has to be empty at the end. */
async function scratch(): Promise<{ root: string; temporary: string } & AsyncDisposable> {
  const dir = await Deno.makeTempDir({ dir: work });
  for (const name of ["root", "tmp"]) await Deno.mkdir(`${dir}/${name}`);
  return {
    root: `${dir}/root`,
    temporary: `${dir}/tmp`,
    async [Symbol.asyncDispose]() {
      const left = [...Deno.readDirSync(`${dir}/tmp`)].map(({ name }) => name);
      await Deno.remove(dir, { recursive: true });
      assertEquals(left, []);
    },
  };
}

/**
 * Makes a directory of programs: busybox's applets, but for `others`.
 *
 * @param others paths by name; `undefined` for none
 */
async function busyboxBin(
  others: Readonly<Record<string, string | undefined>> = {},
): Promise<string> {
  const bin = await Deno.makeTempDir({ dir: work });
  const names = (await run(["busybox", "--list"])).output.trim().split("\n");
  const applets = Object.fromEntries(names.map((name) => [name, "/usr/bin/busybox"]));
  for (const [name, path] of Object.entries({ ...applets, ...others })) {
    if (path !== undefined) await Deno.symlink(path, `${bin}/${name}`);
  }
  return bin;
}

/** Every file and directory below a root, with data that shows whether it was changed. */
async function snapshot(root: string): Promise<string> {
  return (await run(["find", root, "-printf", "%P %y %m %s %i %T@\n"])).output
    .split("\n").sort().filter((line) => !line.startsWith(" ")).join("\n");
}

async function filesOf(root: string): Promise<string[]> {
  const { output } = await run(["find", root, "-type", "f", "-printf", "/%P\n"]);
  return output.split("\n").filter((line) => line !== "").sort();
}

/** Serves the small release, but for what `answer` answers itself. */
function serve(answer: (path: string) => Response | undefined) {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { pathname } = new URL(request.url);
    const own = answer(pathname);
    if (own !== undefined) return own;
    const file = await Deno.open(`${SMALL}${pathname}`).catch(() => undefined);
    if (file === undefined) return new Response(null, { status: 404 });
    return new Response(file.readable);
  });
  return { server, url: `http://127.0.0.1:${server.addr.port}` };
}

Deno.test("install.sh passes shellcheck", async () => {
  assertEquals(await run(["shellcheck", INSTALL]), { code: 0, output: "" });
});

for (const shell of SHELLS) {
  Deno.test(`install.sh installs from the web, again, and uninstalls, under ${shell[0]}`, async () => {
    await using place = await scratch();
    const { root, temporary } = place;
    const { server, url } = serve(() => undefined);
    await using _server = { [Symbol.asyncDispose]: () => server.shutdown() };
    const install = (...args: string[]) =>
      run([...shell, INSTALL, `--root=${root}`, ...args], { TMPDIR: temporary });

    const dry = await install(`--url=${url}`, "--dry-run");
    assertEquals(dry.code, 0, dry.output);
    assertStringIncludes(dry.output, `would write ${root}/usr/bin/flanneld`);
    assertEquals(await filesOf(root), []);

    const first = await install("--url", url, `--version=${VERSION}`);
    assertEquals(first.code, 0, first.output);
    assertStringIncludes(first.output, `installed flanneld ${VERSION} in ${root}/usr`);
    const files = await filesOf(root);
    for (const file of FILES) assert(files.includes(file), file);
    assertEquals((await Deno.stat(`${root}/usr/bin/flanneld`)).mode! & 0o7777, 0o755);
    assertEquals((await Deno.stat(`${root}/etc/sysconfig/flanneld`)).mode! & 0o7777, 0o600);
    assertEquals(
      (await run([`${root}/usr/bin/flanneld`, "-version"])).output,
      `${VERSION}\n`,
    );

    assertEquals(await Deno.readLink(`${root}/opt/cni/bin/flannel`), "/usr/bin/flanneld");

    // As an older version has installed it.
    await Deno.chmod(`${root}/etc/sysconfig/flanneld`, 0o644);
    const shut = await install(`--url=${url}`);
    assertStringIncludes(shut.output, "is readable by its owner alone now");
    assertEquals((await Deno.stat(`${root}/etc/sysconfig/flanneld`)).mode! & 0o7777, 0o600);
    const before = await snapshot(root);
    const again = await install(`--url=${url}`);
    assertStringIncludes(again.output, "is installed in /usr already");
    assertEquals(await snapshot(root), before);

    await Deno.writeTextFile(`${root}/etc/sysconfig/flanneld`, "FLANNEL_OPTIONS=-v=2\n");
    await Deno.writeTextFile(`${root}/usr/libexec/flannel/mk-docker-opts.sh`, "broken\n");
    const repaired = await install(`--url=${url}`);
    assertStringIncludes(repaired.output, `kept ${root}/etc/sysconfig/flanneld, which is yours`);
    assertEquals(
      await Deno.readTextFile(`${root}/etc/sysconfig/flanneld`),
      "FLANNEL_OPTIONS=-v=2\n",
    );
    assertEquals(
      await Deno.readTextFile(`${root}/usr/libexec/flannel/mk-docker-opts.sh`),
      await Deno.readTextFile(`${ROOT}/scripts/mk-docker-opts.sh`),
    );

    const removedDry = await install("--uninstall", "--dry-run");
    assertStringIncludes(removedDry.output, `would remove ${root}/usr/bin/flanneld`);
    assertEquals(await filesOf(root), files);
    const removed = await install("--uninstall");
    assertEquals(removed.code, 0, removed.output);
    assertStringIncludes(removed.output, "which was edited");
    assertEquals(await filesOf(root), ["/etc/sysconfig/flanneld"]);
    assertEquals([...Deno.readDirSync(`${root}/opt`)], []);
    const nothing = await install("--uninstall");
    assertEquals(nothing.code, 1);
    assertMatch(nothing.output, /has installed nothing in .*\/usr/);
  });
}

Deno.test("install.sh changes nothing when the download is cut off, altered, missing or refused", async () => {
  await using place = await scratch();
  const { root, temporary } = place;
  const bytes = await Deno.readFile(`${SMALL}/${TARBALL}`);
  const sums = await Deno.readTextFile(`${SMALL}/SHA256SUMS`);
  const cases: readonly [string, (path: string) => Response | undefined, RegExp][] = [
    [
      "cut off",
      (path) =>
        path !== `/${TARBALL}` ? undefined : new Response(bytes.subarray(0, bytes.length / 2)),
      /is not what it should be: its SHA-256 is [0-9a-f]{64}, not [0-9a-f]{64}/,
    ],
    [
      "altered checksum",
      (path) =>
        path !== "/SHA256SUMS"
          ? undefined
          // Another digit whatever the digest begins with.
          : new Response(sums.replaceAll(/^[0-9a-f]/gm, (digit) => digit === "0" ? "1" : "0")),
      /is not what it should be/,
    ],
    [
      "no tarball",
      (path) => path !== `/${TARBALL}` ? undefined : new Response(null, { status: 404 }),
      /cannot download http:\/\/127/,
    ],
    [
      "another machine's alone",
      (path) =>
        path !== "/SHA256SUMS"
          ? undefined
          : new Response(sums.replaceAll("linux-x86_64.tar", "linux-aarch64.tar")),
      /holds no flanneld for x86_64/,
    ],
    [
      "two versions",
      (path) =>
        path !== "/SHA256SUMS"
          ? undefined
          : new Response(sums + sums.replaceAll(`flanneld-${VERSION}`, "flanneld-9.9.9")),
      /holds several versions; choose one with --version/,
    ],
  ];
  for (const [what, answer, expected] of cases) {
    const { server, url } = serve(answer);
    try {
      const { code, output } = await run(
        ["dash", INSTALL, `--root=${root}`, `--url=${url}`],
        { TMPDIR: temporary },
      );
      assertEquals(code, 1, `${what}: ${output}`);
      assertMatch(output, expected, what);
      assertEquals([...Deno.readDirSync(root)], [], what);
    } finally {
      await server.shutdown();
    }
  }
});

Deno.test("install.sh does not leave https, wherever a server redirects to", async (t) => {
  const { server, url } = serve(() => undefined);
  const { ca, server: { cert, key } } = await makeCertificates(
    await Deno.makeTempDir({ dir: work }),
  );
  const moved = { to: url };
  const secure = Deno.serve({
    ...{ hostname: "127.0.0.1", port: 0, onListen() {} },
    cert: await Deno.readTextFile(cert),
    key: await Deno.readTextFile(key),
  }, (request) => {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/moved/")) {
      return Response.redirect(moved.to + pathname.slice("/moved".length), 302);
    }
    return Deno.readFile(`${SMALL}${pathname}`).then(
      (bytes) => new Response(bytes),
      () => new Response(null, { status: 404 }),
    );
  });
  await using _servers = {
    [Symbol.asyncDispose]: async () => {
      await Promise.all([server.shutdown(), secure.shutdown()]);
    },
  };
  const secureUrl = `https://127.0.0.1:${secure.addr.port}`;
  const wgetrc = await Deno.makeTempFile({ dir: work });
  await Deno.writeTextFile(wgetrc, `ca_certificate = ${ca}\n`);
  const trusting = { CURL_CA_BUNDLE: ca, WGETRC: wgetrc };
  const install = (root: string, url: string, env: Record<string, string>) =>
    run(["/bin/dash", INSTALL, `--root=${root}`, `--url=${url}`], { ...trusting, ...env });

  await t.step("with curl", async () => {
    await using place = await scratch();
    const { root, temporary: TMPDIR } = place;
    moved.to = url;
    const refused = await install(root, `${secureUrl}/moved`, { TMPDIR });
    assertEquals(refused.code, 1, refused.output);
    assertMatch(refused.output, /cannot download https:\/\/127\.0\.0\.1:\d+\/moved\/SHA256SUMS/);
    assertEquals([...Deno.readDirSync(root)], []);
    moved.to = secureUrl;
    const followed = await install(root, `${secureUrl}/moved`, { TMPDIR });
    assertEquals(followed.code, 0, followed.output);
  });

  for (const [name, program] of [["wget", "/usr/bin/wget"], ["busybox's wget", undefined]]) {
    await t.step(`with ${name}`, async () => {
      await using place = await scratch();
      const { root, temporary } = place;
      const bin = await busyboxBin(program === undefined ? {} : { wget: program });
      moved.to = url;
      const env = { TMPDIR: temporary, PATH: bin };
      const refused = await install(root, `${secureUrl}/moved`, env);
      assertEquals(refused.code, 1, refused.output);
      assertMatch(refused.output, /install curl, or get the tarball and use --tarball\n$/);
      assertEquals([...Deno.readDirSync(root)], []);
      if (program !== undefined) {
        const direct = await install(root, secureUrl, env);
        assertEquals(direct.code, 0, direct.output);
      }
    });
  }
});

Deno.test("install.sh unpacks the tarball that it has checked, though somebody replaces it meanwhile", async () => {
  await using place = await scratch();
  const { root, temporary } = place;
  const dir = await Deno.makeTempDir({ dir: work });
  for (const file of [TARBALL, "SHA256SUMS"]) {
    await Deno.copyFile(`${SMALL}/${file}`, `${dir}/${file}`);
  }
  const evil = `${dir}/evil/${TARBALL.replace(".tar.gz", "")}/usr/bin`;
  await Deno.mkdir(evil, { recursive: true });
  await Deno.writeTextFile(`${evil}/flanneld`, `#!/bin/sh\n: evil\necho ${VERSION}\n`, {
    mode: 0o755,
  });
  await run(["tar", "-czf", `${dir}/evil.tar.gz`, "-C", `${dir}/evil`, "."]);
  // The moment after the check.
  await Deno.mkdir(`${dir}/bin`);
  await Deno.writeTextFile(
    `${dir}/bin/sha256sum`,
    `#!/bin/sh\n/usr/bin/sha256sum "$@"\ncp ${dir}/evil.tar.gz ${dir}/${TARBALL}\n`,
    { mode: 0o755 },
  );
  const { code, output } = await run(
    ["dash", INSTALL, `--root=${root}`, `--tarball=${dir}/${TARBALL}`],
    { TMPDIR: temporary, PATH: `${dir}/bin:/usr/bin:/bin` },
  );
  assertEquals(code, 0, output);
  assertEquals(await sha256(`${dir}/${TARBALL}`), await sha256(`${dir}/evil.tar.gz`));
  assertEquals(await Deno.readTextFile(`${root}/usr/bin/flanneld`), STUB);
});

Deno.test("install.sh leaves nothing behind when it is ended in the middle of a download", async () => {
  await using place = await scratch();
  const { root, temporary } = place;
  const reached = Promise.withResolvers<void>();
  const { server, url } = serve((path) => {
    if (path !== `/${TARBALL}`) return undefined;
    return new Response(
      new ReadableStream({
        start(controller) {
          controller.enqueue(new Uint8Array(65536));
          reached.resolve();
        },
      }),
    );
  });
  // A group of its own: the signal goes to the shell and to curl, as control-C does.
  const child = new Deno.Command("setsid", {
    args: ["dash", INSTALL, `--root=${root}`, `--url=${url}`],
    env: { TMPDIR: temporary },
    stdout: "null",
    stderr: "null",
    signal: AbortSignal.timeout(60_000),
  }).spawn();
  await reached.promise;
  await run(["kill", "-TERM", "--", `-${child.pid}`]);
  const { code } = await child.status;
  assertEquals(code, 143);
  assertEquals([...Deno.readDirSync(root)], []);
  await server.shutdown();
});

Deno.test("install.sh leaves nothing behind when the disk is full", async () => {
  await using place = await scratch();
  const { root, temporary } = place;
  const { code, output } = await run([
    ...["unshare", "--mount", "sh", "-c"],
    'mount -t tmpfs -o size=40m tmpfs "$1" && { dash "$2" --root="$1" --tarball="$3"; c=$?; ' +
    'find "$1" -mindepth 1; exit $c; }',
    ...["sh", root, INSTALL, `${RELEASE}/${TARBALL}`],
  ], { TMPDIR: temporary });
  assertEquals(code, 1, output);
  assertMatch(output, /cannot write \S+\/usr\/bin\/flanneld; everything is as it was\n$/);
});

Deno.test("install.sh advises when temporary files cannot be executed", async () => {
  await using place = await scratch();
  const { root, temporary } = place;
  const { code, output } = await run([
    ...["unshare", "--mount", "sh", "-c"],
    'mount -t tmpfs -o noexec tmpfs "$TMPDIR" && dash "$2" --root="$1" --tarball="$3"',
    ...["sh", root, INSTALL, `${SMALL}/${TARBALL}`],
  ], { TMPDIR: temporary });
  assertEquals(code, 1, output);
  assertMatch(output, /set TMPDIR to a directory that is not mounted noexec\n$/);
  assertEquals([...Deno.readDirSync(root)], []);
});

Deno.test("install.sh downloads with wget where there is no curl", async () => {
  await using place = await scratch();
  const { root, temporary } = place;
  const { server, url } = serve(() => undefined);
  await using _server = { [Symbol.asyncDispose]: () => server.shutdown() };
  // busybox has a wget, and all else that the script needs.
  const bin = await busyboxBin();
  const { code, output } = await run(
    [`${bin}/sh`, INSTALL, `--root=${root}`, `--url=${url}`],
    { TMPDIR: temporary, PATH: bin },
  );
  assertEquals(code, 0, output);
  assertEquals((await run([`${root}/usr/bin/flanneld`, "-version"])).output, `${VERSION}\n`);
});

Deno.test("install.sh takes back what it has written when one file cannot be replaced", async () => {
  await using place = await scratch();
  const { root, temporary } = place;
  const install = () =>
    run(["dash", INSTALL, `--root=${root}`, `--tarball=${SMALL}/${TARBALL}`], {
      TMPDIR: temporary,
    });
  await install();
  const unit = `${root}/usr/lib/systemd/system/flanneld.service`;
  const dropIn = `${root}/usr/lib/systemd/system/docker.service.d/flannel.conf`;
  for (const path of [unit, dropIn]) await Deno.writeTextFile(path, "old\n");
  const before = await filesOf(root);
  await run(["chattr", "+i", unit]);
  try {
    const { code, output } = await install();
    assertEquals(code, 1, output);
    assertStringIncludes(output, `cannot write ${unit}; everything is as it was`);
    assertEquals(await Deno.readTextFile(dropIn), "old\n");
    assertEquals(await filesOf(root), before);
  } finally {
    await run(["chattr", "-i", unit]);
  }
});

Deno.test("install.sh lets the unit fit another prefix", async () => {
  await using place = await scratch();
  const { root, temporary } = place;
  const { code, output } = await run([
    ...["dash", INSTALL, `--root=${root}`, "--prefix=/opt/flannel"],
    `--tarball=${SMALL}/${TARBALL}`,
  ], { TMPDIR: temporary });
  assertEquals(code, 0, output);
  const unit = await Deno.readTextFile(`${root}/etc/systemd/system/flanneld.service`);
  assertMatch(unit, /^ExecStart=\/opt\/flannel\/bin\/flanneld \$FLANNEL_OPTIONS$/m);
  assertMatch(unit, /^ExecStartPost=\/opt\/flannel\/libexec\/flannel\/mk-docker-opts\.sh /m);
  assert((await Deno.stat(`${root}/opt/flannel/bin/flanneld`)).isFile);
  // Directories that other programs read.
  for (
    const path of [
      "NetworkManager/conf.d/90-flanneld.conf",
      "systemd/network/00-flanneld.network",
      "firewalld/services/flannel-vxlan.xml",
    ]
  ) assert((await Deno.stat(`${root}/etc/${path}`)).isFile, path);
});

Deno.test("install.sh takes the tarball that the host's C library runs, and the unit that its systemd knows", async (t) => {
  const cases = [
    { glibc: "glibc 2.17", systemd: 219, bundled: true },
    { glibc: "glibc 2.26", systemd: 234, bundled: true },
    { glibc: "glibc 2.27", systemd: 237, bundled: false },
    { glibc: "glibc 3.0", systemd: 257, bundled: false },
    { glibc: "undefined", systemd: 257, bundled: true }, // musl's getconf
    { glibc: "glibc 2.41", systemd: 257, bundled: true, args: ["--bundled-libc"] },
  ];
  const small = await smallRelease();
  for (const { glibc, systemd, bundled, args = [] } of cases) {
    await t.step(`${glibc}, systemd ${systemd} ${args}`, async () => {
      await using place = await scratch();
      const { root, temporary } = place;
      const bin = await Deno.makeTempDir({ dir: work });
      const print = (name: string, line: string) =>
        Deno.writeTextFile(`${bin}/${name}`, `#!/bin/sh\necho ${line}\n`, { mode: 0o755 });
      await print("getconf", glibc);
      await print("systemctl", `systemd ${systemd}`);
      const { code, output } = await run(
        ["dash", INSTALL, `--root=${root}`, `--url=file://${small}`, "--prefix=/opt/x", ...args],
        { TMPDIR: temporary, PATH: `${bin}:/usr/bin:/bin` },
      );
      assertEquals(code, 0, output);
      const files = await filesOf(root);
      assertEquals(files.includes("/usr/lib/flanneld/libc.so.6"), bundled);
      const isForced = args.length > 0;
      assertEquals(output.includes("taking the build that brings its own"), bundled && !isForced);
      const unit = await Deno.readTextFile(`${root}/etc/systemd/system/flanneld.service`);
      const isOld = bundled && systemd < 235;
      assertEquals(unit.includes("ProtectSystem=full"), isOld);
      assertMatch(unit, /^ExecStart=\/opt\/x\/bin\/flanneld /m);
      assertEquals(files.includes("/etc/tmpfiles.d/flanneld.conf"), isOld);
      assertEquals(files.some((file) => file.endsWith("/00-flanneld.network")), !isOld);
      assertEquals(files.includes("/etc/modules-load.d/flanneld.conf"), isOld);
      const removed = await run([
        "dash",
        INSTALL,
        `--root=${root}`,
        "--prefix=/opt/x",
        "--uninstall",
      ], {
        TMPDIR: temporary,
      });
      assertEquals(removed.code, 0, removed.output);
      assertEquals(await filesOf(root), []);
    });
  }
});

Deno.test("install.sh removes on an upgrade the files that the new version lacks, unless they were edited", async (t) => {
  const docs = "usr/share/doc/flanneld/docs";
  const former = await smallRelease({
    extra: [
      ...["a", "b", "c"].map((name) => `${docs}/old/${name}.md`),
      ...[`${docs}/gone/deep/d.md`, "etc/flannel/e.conf", "etc/flannel/f.conf"],
    ],
  });
  const next = await smallRelease({ extra: [`${docs}/new/a.md`] });
  const bin = await busyboxBin({ sha256sum: undefined, openssl: "/usr/bin/openssl" });
  const hosts = [
    ...SHELLS.map((shell) => ({ shell, PATH: "/usr/bin:/bin" })),
    { shell: [`${bin}/sh`], PATH: bin },
  ];
  for (const { shell, PATH } of hosts) {
    await t.step(shell.join(" ").replace(bin, "openssl with busybox's"), async () => {
      await using place = await scratch();
      const { root, temporary: TMPDIR } = place;
      const install = (...args: string[]) =>
        run([...shell, INSTALL, `--root=${root}`, ...args], { TMPDIR, PATH });
      const upgrade = (...args: string[]) => install(`--tarball=${next}/${TARBALL}`, ...args);
      const first = await install(`--tarball=${former}/${TARBALL}`);
      assertEquals(first.code, 0, first.output);
      const edited = [`/${docs}/old/b.md`, "/etc/flannel/f.conf"];
      for (const path of edited) await Deno.writeTextFile(root + path, "edited\n");
      const before = await filesOf(root);
      const removed = [
        ...["/etc/flannel/e.conf", `/${docs}/gone/deep/d.md`],
        ...[`/${docs}/old/a.md`, `/${docs}/old/c.md`],
      ];

      const dry = await upgrade("--dry-run");
      assertEquals(dry.code, 0, dry.output);
      for (const path of removed) {
        assertStringIncludes(dry.output, `would remove ${root}${path}, which this version lacks\n`);
      }
      assertEquals(await filesOf(root), before);

      // The last one: the others have been removed by then.
      const last = `${root}/${docs}/old/c.md`;
      await run(["chattr", "+i", last]);
      try {
        const { code, output } = await upgrade();
        assertEquals(code, 1, output);
        assertStringIncludes(output, `cannot remove ${last}; everything is as it was`);
        assertEquals(await filesOf(root), before);
        for (const path of removed) {
          assertEquals(await Deno.readTextFile(root + path), `${path.slice(1)}\n`);
        }
      } finally {
        await run(["chattr", "-i", last]);
      }

      const { code, output } = await upgrade();
      assertEquals(code, 0, output);
      for (const path of removed) {
        assertStringIncludes(output, `removed ${root}${path}, which this version lacks\n`);
      }
      for (const path of edited) {
        assertStringIncludes(output, `kept ${root}${path}, which was edited`);
        assertEquals(await Deno.readTextFile(root + path), "edited\n");
      }
      assertEquals(
        await filesOf(root),
        [...before.filter((path) => !removed.includes(path)), `/${docs}/new/a.md`].sort(),
      );
      await assertRejects(() => Deno.stat(`${root}/${docs}/gone`), Deno.errors.NotFound);
      const again = await upgrade();
      assertStringIncludes(again.output, "is installed in /usr already");
      const end = await install("--uninstall");
      assertEquals(end.code, 0, end.output);
      assertEquals(await filesOf(root), [...edited].sort());
    });
  }
});

Deno.test("install.sh reports a usage error in one line", async () => {
  const cases = [
    [["--nosuch"], "unknown option: --nosuch"],
    [["--prefix=usr"], "--prefix must begin with /, not usr"],
    [["--prefix=/a b"], "--prefix must be of letters"],
    [["--url=ftp://x"], "--url must begin with https://, http:// or file://, not ftp://x"],
    [["--url=http://x", "--tarball=y"], "--url and --tarball exclude each other"],
    [["--sha256=abc", "--tarball=y"], "--sha256 must be 64 hex digits, not abc"],
    [["--root=/nosuch"], "--root: there is no directory /nosuch"],
    [["--version"], "--version needs a value"],
    [["--bundled-libc", "--tarball=x"], "--bundled-libc chooses a tarball of --url"],
    [[], "nothing to install: give --url or --tarball"],
  ] as const;
  for (const [args, expected] of cases) {
    const { code, output } = await run(["dash", INSTALL, ...args]);
    assertEquals(code, 2, output);
    assertStringIncludes(output.split("\n")[0]!, expected);
  }
});

/**
 * A root with nothing but a shell and, where it is to have one, the C library: no Deno, no Node, no etcd, no iptables.
 */
async function bareRoot(dir: string, hasLibc: boolean): Promise<void> {
  const output = hasLibc ? (await run(["ldd", FLANNELD])).output : "";
  for (const library of output.match(/(?<=[\t ])\/\S+/g) ?? []) {
    await Deno.mkdir(`${dir}${library}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.copyFile(library, `${dir}${library}`);
  }
  await makeBusyboxRoot(dir);
  for (const name of ["proc", "tmp", "run", "etc", "dev", "var/lib/dpkg/info"]) {
    await Deno.mkdir(`${dir}/${name}`, { recursive: true });
  }
  for (const [name, minor] of [["null", "3"], ["random", "8"], ["urandom", "9"]] as const) {
    await run(["mknod", "-m", "666", `${dir}/dev/${name}`, "c", "1", minor]);
  }
  await Deno.writeTextFile(`${dir}/etc/machine-id`, "0123456789abcdef0123456789abcdef\n");
  await Deno.writeTextFile(`${dir}/var/lib/dpkg/status`, "");
}

/**
 * Lets a root look as if systemd, NetworkManager and systemd-networkd ran there.
 *
 * @returns the calls of their commands
 */
async function standInForSystemd(root: string): Promise<() => Promise<string[]>> {
  await Deno.mkdir(`${root}/run/systemd/system`, { recursive: true });
  for (const name of ["systemctl", "nmcli", "networkctl"]) {
    const script = `#!/bin/sh\necho "${name} $*" >> /tmp/calls\n`;
    await Deno.writeTextFile(`${root}/bin/${name}`, script, { mode: 0o755 });
  }
  return async () => (await Deno.readTextFile(`${root}/tmp/calls`)).trim().split("\n");
}

interface Manager {
  readonly name: string;
  /** Installs what brings its own C library, into a root without one. @default false */
  readonly bundledLibc?: boolean;
  /** Files that it leaves out. @default none */
  readonly without?: readonly string[];
  readonly install: (root: string) => readonly string[];
  /** @default install */
  readonly upgrade?: (root: string) => readonly string[];
  /** Prints nothing when every file is as the package has it. */
  readonly verify?: (root: string) => readonly string[];
  readonly remove: (root: string) => readonly string[];
  /** Files that stay when the settings were edited. */
  readonly left: readonly string[];
}

const DEB = `${RELEASE}/flanneld_${VERSION}_amd64.deb`;
const RPM = `${RELEASE}/flanneld-${VERSION}-1.x86_64.rpm`;
const RPM_EL7 = `${RELEASE}/flanneld-${VERSION}-1.el7.x86_64.rpm`;

/** Returns a command that runs the install.sh of a tarball, which it unpacks the first time. */
function unpackedInstall(root: string, tarball: string): readonly string[] {
  const tree = `/release/${tarball.replace(".tar.gz", "")}`;
  const script =
    `[ -d ${tree} ] || tar -xzf ${tree}.tar.gz -C /release; exec sh ${tree}/install.sh`;
  return ["chroot", root, "/bin/sh", "-c", script];
}

const MANAGERS: readonly Manager[] = [
  {
    name: "the tarball, by the root's own shell",
    install: (root) => [
      ...["chroot", root, "/bin/sh", "/release/install.sh"],
      `--tarball=/release/${TARBALL}`,
    ],
    upgrade: (root) => unpackedInstall(root, TARBALL),
    remove: (root) => ["chroot", root, "/bin/sh", "/release/install.sh", "--uninstall"],
    left: ["/etc/sysconfig/flanneld"],
  },
  {
    name: "the tarball that a root without a C library takes, by its own shell",
    bundledLibc: true,
    install: (root) => [
      ...["chroot", root, "/bin/sh", "/release/install.sh", "--url=file:///release"],
    ],
    upgrade: (root) => unpackedInstall(root, BUNDLED_TARBALL),
    remove: (root) => ["chroot", root, "/bin/sh", "/release/install.sh", "--uninstall"],
    left: ["/etc/sysconfig/flanneld"],
  },
  ...[RPM, RPM_EL7].map((rpm): Manager => ({
    name: rpm === RPM ? "the rpm" : "the rpm for CentOS 7",
    bundledLibc: rpm === RPM_EL7,
    // systemd-networkd of CentOS 7 would misread it.
    without: rpm === RPM_EL7 ? ["/usr/lib/systemd/network/00-flanneld.network"] : [],
    // The C library is there, but not by way of a package.
    install: (root) => ["rpm", "--root", root, "--nodeps", "--install", rpm],
    upgrade: (root) => ["rpm", "--root", root, "--nodeps", "--reinstall", rpm],
    verify: (root) => ["rpm", "--root", root, "--nodeps", "--verify", "flanneld"],
    remove: (root) => ["rpm", "--root", root, "--erase", "flanneld"],
    left: ["/etc/sysconfig/flanneld.rpmsave"],
  })),
  {
    name: "the deb",
    install: (root) => ["dpkg", `--root=${root}`, "--force-depends", "--install", DEB],
    verify: (root) => ["dpkg", `--root=${root}`, "--verify", "flanneld"],
    remove: (root) => ["dpkg", `--root=${root}`, "--remove", "flanneld"],
    left: ["/etc/sysconfig/flanneld", "/etc/ufw/applications.d/flanneld"],
  },
];

Deno.test("each package is installed in a bare root, runs an agent there, and is removed", async (t) => {
  await using lab = await Lab.start({ hosts: 2 });
  const [one, two] = lab.hosts as [typeof lab.hosts[0] & object, typeof lab.hosts[0] & object];
  await using etcd = await LabEtcd.start(one);
  await etcd.set("v3", `${PREFIX}/config`, CONFIG);
  for (
    const {
      name,
      bundledLibc = false,
      without = [],
      install,
      upgrade = install,
      verify,
      remove,
      left,
    } of MANAGERS
  ) {
    await t.step(name, async () => {
      await using place = await scratch();
      const { root } = place;
      await bareRoot(root, !bundledLibc);
      await Deno.mkdir(`${root}/release`);
      for (const file of [TARBALL, BUNDLED_TARBALL, "install.sh", "SHA256SUMS"]) {
        await Deno.link(`${RELEASE}/${file}`, `${root}/release/${file}`);
      }
      // The executable reads itself by way of /proc, which is mounted for the test alone.
      const inRoot = (command: readonly string[]) =>
        run([
          ...["unshare", "--mount", "sh", "-c"],
          // The root has no directory of the tester's.
          'unset TMPDIR; mount -t proc proc "$0/proc" && exec "$@"',
          ...[root, ...command],
        ]);
      const calls = await standInForSystemd(root);
      const required = `${root}/etc/systemd/system/docker.service.requires/flanneld.service`;
      await Deno.mkdir(dirname(required), { recursive: true });
      await Deno.symlink("/usr/lib/systemd/system/flanneld.service", required);
      const installed = await inRoot(install(root));
      assertEquals(installed.code, 0, installed.output);
      for (const call of ["nmcli general reload conf", "networkctl reload"]) {
        assert((await calls()).includes(call), `${call}\n${installed.output}`);
      }
      // The rest is as in a container, where systemd does not run.
      await Deno.remove(`${root}/run/systemd`, { recursive: true });
      const files = await filesOf(root);
      for (const file of FILES) {
        const isLeftOut = without.includes(file);
        assertEquals(files.includes(file), !isLeftOut, `${file}\n${installed.output}`);
      }
      assertEquals(files.includes("/usr/lib/flanneld/ld.so"), bundledLibc);
      if (verify !== undefined) {
        assertEquals(await run(verify(root)), { code: 0, output: "" });
        await assertRejects(() => Deno.lstat(required), Deno.errors.NotFound);
      } else {
        await Deno.remove(required);
      }
      const settings = `${root}/etc/sysconfig/flanneld`;
      const modeOf = async () => (await Deno.stat(settings)).mode! & 0o7777;
      assertEquals(await modeOf(), 0o600);

      // Settings that an older version has let everybody read, edited or not; and the operator's own mode.
      for (
        const [edited, mode, expected] of [[false, 0o644, 0o600], [true, 0o644, 0o600], [
          true,
          0o640,
          0o640,
        ]] as const
      ) {
        if (edited) await Deno.writeTextFile(settings, "FLANNEL_OPTIONS=-v=1\n");
        const content = await Deno.readTextFile(settings);
        await Deno.chmod(settings, mode);
        const upgraded = await inRoot(upgrade(root));
        assertEquals(upgraded.code, 0, upgraded.output);
        assertEquals(await modeOf(), expected, `${edited} ${upgraded.output}`);
        assertEquals(await Deno.readTextFile(settings), content);
      }

      const { code, output } = await inRoot(["chroot", root, "/usr/bin/flanneld", "-version"]);
      assertEquals({ code, output }, { code: 0, output: `${VERSION}\n` });

      const agent = await two.spawn([
        ...["sh", "-c", 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'],
        ...[root, "/usr/bin/flanneld", "-iface=eth1"],
        ...[`-etcd-endpoints=${etcd.endpoint}`, `-etcd-prefix=${PREFIX}`],
      ]);
      await agent.waitFor("Wrote subnet file to /run/flannel/subnet.env");
      await agent.stop();
      await two.exec(["umount", `${root}/proc`]);
      assertMatch(
        await Deno.readTextFile(`${root}/run/flannel/subnet.env`),
        /^FLANNEL_SUBNET=10\.20\.\d+\.1\/24$/m,
      );
      const options = await inRoot([
        ...["chroot", root, "/usr/libexec/flannel/mk-docker-opts.sh"],
        ...["-k", "DOCKER_NETWORK_OPTIONS", "-d", "/run/flannel/docker"],
      ]);
      assertEquals(options.code, 0, options.output);

      await Deno.writeTextFile(`${root}/etc/sysconfig/flanneld`, "edited\n");
      const removed = await inRoot(remove(root));
      assertEquals(removed.code, 0, removed.output);
      const remaining = (await filesOf(root)).filter((file) =>
        /flannel/.test(file) && !file.startsWith("/run/") && !file.startsWith("/release/") &&
        !file.startsWith("/var/lib/")
      );
      assertEquals(remaining, left);
    });
  }
});

Deno.test("the rpm for CentOS 7 needs nothing that its rpm 4.11 or its C library lacks", async () => {
  const { output } = await run(["rpm", "--query", "--package", "--requires", RPM_EL7]);
  const needs = new Set(output.trim().split("\n").map((line) => line.split(" ")[0]!));
  assertEquals([...needs].sort(), [
    "/bin/sh",
    "rpmlib(CompressedFileNames)",
    "rpmlib(FileDigests)",
    "rpmlib(PayloadFilesHavePrefix)",
  ]);
  const unit = await run([
    ...["sh", "-c", 'rpm2cpio "$1" | cpio --quiet --extract --to-stdout ".$2"', "sh", RPM_EL7],
    "/usr/lib/systemd/system/flanneld.service",
  ]);
  assertEquals(
    unit.output,
    await Deno.readTextFile(`${ROOT}/scripts/systemd/systemd-219/flanneld.service`),
  );
});

Deno.test("rpm and deb name the license, in the fields and files where their tools look for it", async () => {
  const query = ["rpm", "--query", "--package", RPM];
  assertEquals((await run([...query, "--queryformat", "%{LICENSE}"])).output, "Apache-2.0");
  const doc = "/usr/share/doc/flanneld";
  assertEquals(
    (await run([...query, "--licensefiles"])).output.trim().split("\n"),
    ["LICENSE", "NOTICE", "THIRD-PARTY-LICENSES"].map((name) => `${doc}/${name}`),
  );
  const { output } = await run([
    ...["sh", "-c", 'dpkg-deb --fsys-tarfile "$1" | tar -xO ".$2"'],
    ...["sh", DEB, `${doc}/copyright`],
  ]);
  assertMatch(output, /^Files: \*\n(.+\n)*License: Apache-2\.0$/m);
});

// The pages about CNI, on containerd: its own library for CNI calls the plugin.

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { blocks } from "../pages.ts";
import { FLANNELD } from "../../lab/unit.ts";
import { NetworkNamespace } from "../../lab/netns.ts";

const SUBNET_ENV = "FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=10.20.93.1/24\n" +
  "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

/** Gives the host directories of its own where the pages write, and starts containerd. */
const PREPARE = `
set -e
mount --make-rprivate /
mkdir -p /run/flannel /run/netns
mount -t tmpfs tmpfs "$LAB/tmpfs"
mkdir "$LAB/tmpfs/etc" "$LAB/tmpfs/work" "$LAB/tmpfs/srv" "$LAB/tmpfs/lib"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$LAB/tmpfs/etc,workdir=$LAB/tmpfs/work" /etc
for directory in /opt /srv /run/flannel /run/netns /var/lib/cni; do
  [ -d "$directory" ] || mkdir -p "$directory"
  mount -t tmpfs tmpfs "$directory"
done
mkdir -p /etc/cni/net.d /opt/cni/bin
ln -s /usr/lib/cni/* /opt/cni/bin
cp "$LAB/subnet.env" /run/flannel/subnet.env
mkdir -p /srv/rootfs/bin /srv/rootfs/proc
cp /usr/bin/busybox /srv/rootfs/bin/sh
ln -s sh /srv/rootfs/bin/ip
printf 'version = 2\\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\\n' >"$LAB/config.toml"
containerd --config "$LAB/config.toml" --root "$LAB/root" --state "$LAB/state" \\
  --address "$CONTAINERD_ADDRESS" 2>"$LAB/log" &
containerd=$!
stop() {
  kill "$containerd" && wait "$containerd" || :
}
trap stop EXIT
tries=0
until ctr version >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || { cat "$LAB/log" >&2; exit 1; }
  sleep 0.2
done
`;

Deno.test("the pages about CNI and containerd connect containers, in both forms", async () => {
  const directory = await Deno.makeTempDir({ prefix: "flanneld-containerd-" });
  try {
    await using host = await NetworkNamespace.create();
    const [install, builtin, delegate] = await blocks("docs/containers/cni.md", "Set it up", 3);
    const [start] = await blocks("docs/containers/containerd.md", "Containers of containerd", 1);
    const [byHand] = await blocks("docs/containers/cni.md", "Call it by hand", 1);
    for (const name of ["bin", "tmpfs"]) await Deno.mkdir(`${directory}/${name}`);
    await Deno.symlink(FLANNELD, `${directory}/bin/flanneld`);
    await Deno.writeTextFile(`${directory}/subnet.env`, SUBNET_ENV);
    const script = [
      ...[PREPARE, install, builtin, byHand, "echo == builtin", start],
      ...["cat /run/flannel/cni/cbr0.json", "ip link delete cni0", delegate],
      ...["echo == delegate", start, "ls /var/lib/cni/flannel"],
    ].join("\n");
    const { code, stdout, stderr } = await new Deno.Command("nsenter", {
      args: [`--net=${host.path}`, "unshare", "--mount", "sh", "-c", script],
      env: {
        LAB: directory,
        CONTAINERD_ADDRESS: `${directory}/sock`,
        PATH: `${directory}/bin:${Deno.env.get("PATH")}`,
      },
      signal: AbortSignal.timeout(120_000),
    }).output();
    const text = new TextDecoder().decode(stdout);
    assertEquals(code, 0, text + new TextDecoder().decode(stderr));
    const [byHandText = "", builtinText = "", delegateText = ""] = text.split(/== \w+\n/);
    assertMatch(
      byHandText,
      /^made \/opt\/cni\/bin\/flannel, a link to .*\n\{"cniVersion":"1\.0\.0"/,
    );
    for (const form of [builtinText, delegateText]) {
      assertStringIncludes(form, "mtu 1450");
      assertMatch(form, /inet 10\.20\.93\.\d+\/24/);
      assertMatch(form, /default via 10\.20\.93\.1 dev eth0/);
      assertMatch(form, /10\.20\.0\.0\/16 via 10\.20\.93\.1 dev eth0/);
    }
    assertStringIncludes(builtinText, '"leases":[]');
    assertMatch(delegateText, /src 10\.20\.93\.\d+ *\n$/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

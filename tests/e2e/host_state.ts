import type { UnderlayHost } from "../lab/lab.ts";

/** All that an agent could have touched. */
export async function stateOf(host: UnderlayHost): Promise<string> {
  const script = `
ip -4 -o address | sed 's/^[0-9]*: //'
ip -o link | sed 's/^[0-9]*: //; s/ link-netnsid.*//; s/<[^>]*>//; s/ state [A-Z]*//'
ip -4 route show table all
iptables-nft-save | grep -v '^#' | sed 's/ \\[.*//'
iptables-legacy-save | grep -v '^#' | sed 's/ \\[.*//'
nft list tables
for path in /sys/fs/bpf/flanneld/*_$(readlink /proc/self/ns/net | tr -dc 0-9)*; do
  if [ -e "$path" ]; then echo "$path"; fi
done
for device in eth0 eth1; do tc filter show dev $device ingress; done
find /run -maxdepth 1 -name 'docker*' | sort | xargs -r head
find /run/flannel -type f -not -name '*.lock' 2>/dev/null | sort | xargs -r head
find /run -name flannel -o -path '/run/flannel/*' -not -name '*.lock' | sort
`;
  return (await host.exec(["sh", "-c", script])).replaceAll(" linkdown", "");
}

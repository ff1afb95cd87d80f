#!/usr/bin/env bash
# Installs what building and testing need and this Debian machine lacks: Debian's packages, and Deno
# from npm; for the tests a newer Docker, unpacked beside the installed one. Keeps what is
# installed already. Run as root; running it again changes nothing.
#
#   setup.sh                what everything needs
#   setup.sh run            what building and the quickstart need: a few packages, not hundreds of MB
#   setup.sh run-with-etcd  and etcd
set -euo pipefail

# The Deno that is installed where there is none, and the oldest one that will do.
DENO=2.9.6
DENO_OLDEST=2.4.2

# The newest Docker that Debian has, for the tests, beside the installed one; from Debian's testing suite.
DOCKER_SUITE=forky
DOCKER_PACKAGES=(docker.io docker-cli containerd runc)
DOCKER_ROOT=/var/cache/flanneld/docker-testing

what=${1:-all}
case $what in
  all | run | run-with-etcd) ;;
  *)
    echo "setup.sh: unknown argument \"$what\": expected run, run-with-etcd or none" >&2
    exit 2
    ;;
esac

# command:package. npm is for Deno, here and, on closed networks, in scripts/build/runtime.ts.
NEEDED="
  ip:iproute2
  iptables:iptables
  nsenter:util-linux
  update-ca-certificates:ca-certificates
  npm:npm
"
ETCD="
  etcd:etcd-server
  etcdctl:etcd-client
"
TESTS="
  dockerd:docker.io
  docker:docker-cli
  docker-compose:docker-compose
  podman:podman
  ethtool:ethtool
  nft:nftables
  ipset:ipset
  iperf3:iperf3
  tcpdump:tcpdump
  openssl:openssl
  fastd:fastd
  ps:procps
  zsh:zsh
  fish:fish
  groff:groff-base
  tar:tar
  systemd-analyze:systemd
  rpmbuild:rpm
  patchelf:patchelf
  minisign:minisign
  gpg:gpg
  gpg-agent:gpg-agent
  git:git
  shellcheck:shellcheck
  chattr:e2fsprogs
  curl:curl
  chromium:chromium
  qemu-system-x86_64:qemu-system-x86
  depmod:kmod
  wg:wireguard-tools
  cpio:cpio
  firewalld:firewalld
  ufw:ufw
  NetworkManager:network-manager
  faketime:faketime
  promtool:promtool
  sqlite3:sqlite3
"
[ "$what" = run ] || NEEDED+=$ETCD
[ "$what" != all ] || NEEDED+=$TESTS

have() { command -v "$1" >/dev/null 2>&1; }

# The labs' containers hold busybox alone, so it has to do without libraries.
have_static_busybox() {
  [ -x /usr/bin/busybox ] && ! ldd /usr/bin/busybox >/dev/null 2>&1
}

# An EC2 to test against, by the name of its modules: what it serves with, it only recommends.
have_moto() {
  local module
  for module in moto flask flask_cors; do
    [ -d "/usr/lib/python3/dist-packages/$module" ] || return 1
  done
}

deno_will_do() {
  local version
  version=$(deno --version 2>/dev/null | sed -n '1s/^deno \([0-9.]*\).*/\1/p') || return 1
  [ -n "$version" ] && printf '%s\n' "$DENO_OLDEST" "$version" | sort --version-sort --check=quiet
}

have_docker_testing() {
  [ -x "$DOCKER_ROOT/usr/sbin/dockerd" ] && [ -x "$DOCKER_ROOT/usr/bin/docker" ] &&
    [ -x "$DOCKER_ROOT/usr/bin/containerd" ] && [ -x "$DOCKER_ROOT/usr/sbin/runc" ]
}

# Prints the mirror that this machine takes Debian from.
debian_mirror() {
  local mirror
  # shellcheck disable=SC2016 # apt-get's own variables
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Label: Debian' | sed -n 1p)
  if [ -z "$mirror" ]; then
    echo "setup.sh: apt names no mirror of Debian: add one to /etc/apt/sources.list, run apt-get update" >&2
    return 1
  fi
  echo "$mirror"
}

# Unpacks the packages into DOCKER_ROOT: apt works on lists and a cache of its own, so that neither the
# machine's packages nor its sources change.
fetch_docker_testing() {
  local work=$DOCKER_ROOT.new keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  local mirror options package
  mirror=$(debian_mirror)
  [ -e "$keyring" ] || keyring=${keyring%.gpg}.pgp
  rm -rf "$work"
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root"
  echo "deb [signed-by=$keyring] $mirror $DOCKER_SUITE main" >"$work/sources.list"
  options=(
    -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
    -o APT::Sandbox::User=root -o Acquire::Languages=none
  )
  apt-get "${options[@]}" update
  (cd "$work" && apt-get "${options[@]}" download "${DOCKER_PACKAGES[@]}")
  for package in "$work"/*.deb; do dpkg-deb --extract "$package" "$work/root"; done
  rm -rf "$DOCKER_ROOT"
  mv "$work/root" "$DOCKER_ROOT"
  rm -rf "$work"
}

PATH=$PATH:/usr/sbin:/sbin
missing=()
for pair in $NEEDED; do
  have "${pair%%:*}" || missing+=("${pair#*:}")
done
have_static_busybox || missing+=(busybox-static)
# Its plugins are no commands of the PATH.
[ "$what" != all ] || [ -x /usr/lib/cni/host-local ] || missing+=(containernetworking-plugins)
[ "$what" != all ] || have_moto || missing+=(python3-moto python3-flask python3-flask-cors)

want_docker_testing=
if [ "$what" = all ] && ! have_docker_testing; then want_docker_testing=yes; fi

if [ ${#missing[@]} -gt 0 ] || [ -n "$want_docker_testing" ] || ! deno_will_do; then
  if [ "$(id -u)" != 0 ]; then
    echo "setup.sh: ${missing[*]:-deno or the newer Docker} to be installed; run as root" >&2
    exit 1
  fi
fi

if [ ${#missing[@]} -gt 0 ]; then
  if ! have apt-get; then
    echo "setup.sh: missing: ${missing[*]} (Debian's names); install them and run again" >&2
    exit 1
  fi
  echo "setup.sh: installing ${missing[*]}"
  # The tests start etcd and dockerd themselves; the packages' own services need not run.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
  # The labs start them in namespaces; this machine's own firewall and network stay as they are at the next boot, too.
  for pair in firewalld:firewalld ufw:ufw network-manager:NetworkManager; do
    [[ " ${missing[*]} " != *" ${pair%%:*} "* ]] || systemctl --no-reload disable "${pair#*:}.service" || true
  done
fi

if [ -n "$want_docker_testing" ]; then
  if ! have apt-get; then
    echo "setup.sh: missing: ${DOCKER_PACKAGES[*]} of Debian $DOCKER_SUITE, unpacked below $DOCKER_ROOT" >&2
    exit 1
  fi
  echo "setup.sh: fetching Docker of Debian $DOCKER_SUITE"
  fetch_docker_testing
fi

if ! deno_will_do; then
  echo "setup.sh: installing Deno $DENO"
  npm install --global --no-fund --no-audit "deno@$DENO"
  hash -r
fi
deno --version | sed -n 's/^deno/setup.sh: all there, Deno/p'

#!/usr/bin/env bash
# The quick start on a bare Debian machine, as root: installs missing packages, builds dist/flanneld,
# and lets three hosts (network namespaces) lease subnets and ping each other: without etcd, or with
# --etcd [v2|v3] from a real one. It removes everything at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
case " $* " in
  *" --etcd"*) scripts/setup.sh run-with-etcd ;;
  *) scripts/setup.sh run ;;
esac
deno task compile
exec deno run -A --unstable-net scripts/quickstart.ts "$@"

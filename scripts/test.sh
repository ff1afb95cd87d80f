#!/usr/bin/env bash
# All tests, on a bare Debian machine, as root: installs what is missing, then the checks (format, lint,
# types, imports, unit tests) and the executable; then, side by side, the labs on the executable, the tests
# on real kernel objects, and a third lane: flannel beside the executable, the stores on a real etcd, 30 s of
# fuzzing, and some tests on another kernel in a VM. Goes on after a failure, so that one run shows all of them.
set -uo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh || exit 1
rm -f dist/flanneld # what the labs test is what this run compiled

failed=()
run() {
  printf '\n=== deno task %s\n' "$1"
  deno task "$1" || { failed+=("$1") && false; }
}
lane() {
  local failures=0
  for task in "$@"; do run "$task" || failures=1; done
  return "$failures"
}

logs=$(mktemp -d)
chmod 755 "$logs" # some tests look as another user
export NO_COLOR=1 # the logs are searched
# dockerd, etcd and the stores' tests wait for the disk, and a test's disk may be memory.
mkdir "$logs/tmp"
mount -t tmpfs -o mode=1777 tmpfs "$logs/tmp" && export TMPDIR=$logs/tmp
trap 'umount --lazy "$logs/tmp"; rm -rf --one-file-system "$logs"' EXIT

run compile >"$logs/3" 2>&1 &
compile=$!
run ok
wait "$compile" || failed+=(compile)
cat "$logs/3"

# Labs wait more than they compute, so two run at a time on each processor. The output of the other
# lanes follows that of the labs.
lane test:kernel >"$logs/1" 2>&1 &
kernel=$!
lane test:interop test:store test:fuzz test:vm >"$logs/2" 2>&1 &
rest=$!
DENO_JOBS=$(($(nproc) * 2)) lane e2e 2>&1 | tee "$logs/0" || failed+=(e2e)
wait "$kernel" || failed+=(test:kernel)
wait "$rest" || failed+=("test:interop, test:store, test:fuzz or test:vm")
cat "$logs"/1 "$logs"/2

if [ ${#failed[@]} -gt 0 ]; then
  # The errors of all lanes once more, then the names of the tests: a log may be cut but for its end.
  sed -n '/^ ERRORS *$/,/^ FAILURES *$/{/^ FAILURES *$/!p}' "$logs"/[012]
  sed -n '/^ FAILURES *$/,/^FAILED |/{/^FAILED |/!p}' "$logs"/[012]
  printf '\ntest.sh: failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
printf '\ntest.sh: all passed\n'

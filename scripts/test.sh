#!/usr/bin/env bash
# All tests, on a bare Debian machine, as root: installs what is missing, then the gate (format, lint,
# types, imports, unit and store tests), the tests on real kernel objects, some of them on another kernel
# in a VM, the executable, and the labs on the executable. Goes on after a failure, so that one run shows all of them.
set -uo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh || exit 1
rm -f dist/flanneld # what the labs test is what this run compiled

failed=()
for task in ok test:kernel test:vm compile e2e; do
  printf '\n=== deno task %s\n' "$task"
  deno task "$task" || failed+=("$task")
done

if [ ${#failed[@]} -gt 0 ]; then
  printf '\ntest.sh: failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
printf '\ntest.sh: all passed\n'

#!/bin/busybox sh
# The first process of a test's VM: loads what 9p needs, puts a layer of memory over the host's root
# file system, which it cannot write to, and runs /command there. Output goes to the second serial line,
# its last line is the exit code.
set -e
b=/bin/busybox
$b mkdir -p /proc /sys /dev /lower /upper /new
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
for module in $($b cat /modules/order); do
  case $module in
    *.xz) $b xz -dc "/modules/$module" >/module.ko ;;
    *) $b cp "/modules/$module" /module.ko ;;
  esac
  $b insmod /module.ko
done
$b rm /module.ko

share=trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro
$b mount -t 9p -o $share root /lower
$b mount -t tmpfs -o size=75% tmpfs /upper
$b mkdir /upper/files /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /new
$b mkdir -p /new/lib/modules
$b mount -t 9p -o $share modules /new/lib/modules
for one in proc sys dev; do $b mount --move /$one /new/$one; done
$b mkdir -p /new/dev/pts /new/dev/shm
$b mount -t devpts devpts /new/dev/pts
for one in dev/shm run tmp; do $b mount -t tmpfs tmpfs /new/$one; done
directory=$($b cat /directory)
if ! [ -d "/new$directory" ]; then
  $b mkdir -p "/new$directory"
  $b mount --bind "/lower$directory" "/new$directory"
fi
$b mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
$b mount -t bpf bpf /new/sys/fs/bpf
$b ip link set lo up
# udev would make it: opening it loads the module.
$b mkdir -p /new/dev/net
[ -e /new/dev/net/tun ] || $b mknod /new/dev/net/tun c 10 200

$b cp /command /new/run/command
# For the shell over there:
# shellcheck disable=SC2016
exec $b switch_root /new /bin/sh -c '
  stty -F /dev/ttyS1 raw
  exec >/dev/ttyS1 2>&1 </dev/null
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
  # Through a pipe: a program that sees a terminal writes its lines twice.
  { sh /run/command; echo $? >/run/code; } | cat
  echo "vm: exit code $(cat /run/code)"
  sync
  echo o >/proc/sysrq-trigger
  sleep 60
'

#!/bin/busybox sh
# The first process of a test's VM: loads what 9p needs, puts a layer of memory, or the disk, over the
# host's root file system, which it cannot write to, and runs /command there; with /systemd as a unit of
# the systemd that it boots. Output goes to the second serial line, its last line is the exit code.
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
if [ -e /dev/vda ]; then
  $b mount -t ext4 /dev/vda /upper
else
  $b mount -t tmpfs -o size=75% tmpfs /upper
fi
$b mkdir -p /upper/files /upper/work
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
# udev would make these. Before an execveat(2) of a file without a path, as runc does, tomoyo of 5.10 looks up
# its /dev/fd; the device loads its module when it is opened.
[ -e /new/dev/fd ] || $b ln -s /proc/self/fd /new/dev/fd
$b mkdir -p /new/dev/net
[ -e /new/dev/net/tun ] || $b mknod /new/dev/net/tun c 10 200

$b cp /command /new/run/command
# For the shell over there:
# shellcheck disable=SC2016
$b echo '
  stty -F /dev/ttyS1 raw
  exec >/dev/ttyS1 2>&1 </dev/null
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
  # Through a pipe: a program that sees a terminal writes its lines twice.
  { sh /run/command; echo $? >/run/code; } | cat
  echo "vm: exit code $(cat /run/code)"
  # As an operator does, so that services end in their order.
  [ ! -e /run/systemd/system ] || exec systemctl poweroff
  sync
  echo o >/proc/sysrq-trigger
  sleep 60
' >/new/run/start
[ -e /systemd ] || exec $b switch_root /new /bin/sh /run/start

units=/new/run/systemd/system
$b mkdir -p $units/multi-user.target.wants
$b printf '%s\n' '[Unit]' 'After=multi-user.target' '[Service]' 'ExecStart=/bin/sh /run/start' >$units/vm.service
$b ln -s ../vm.service $units/multi-user.target.wants/vm.service
# It would hide the test's directory.
$b ln -s /dev/null $units/tmp.mount
exec $b switch_root /new /lib/systemd/systemd --unit=multi-user.target

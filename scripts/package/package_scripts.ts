/**
 * Scripts of the packages, as POSIX shell, the same in rpm and deb. An installation starts nothing:
 * the agent needs its settings first. Without a running systemd (in a container, or while an image is
 * built) the scripts do not call it.
 *
 * @module
 */

/**
 * With `$upgrade` 1 or 0. A restart loses no packet, except of udp in user space. The script changes the mode of
 * settings that an older version, or flannel, installed readable by everybody to 0600; any other mode is the
 * operator's choice.
 * The CNI plugin is no file of the package, so that the package installs beside another plugin of that name.
 * Docker no longer requires the unit, as CentOS's flannel makes it: the removal of that package stops the unit.
 * NetworkManager and systemd-networkd read the packages' files for them, before flanneld makes a device.
 */
export const AFTER_INSTALL =
  `[ "$upgrade" = 1 ] || rm -f /etc/systemd/system/docker.service.requires/flanneld.service || :
if [ ! -e /opt/cni/bin/flannel ] && [ ! -L /opt/cni/bin/flannel ]; then
  { mkdir -p /opt/cni/bin && ln -s /usr/bin/flanneld /opt/cni/bin/flannel; } || :
fi
[ -z "$(find /etc/sysconfig/flanneld -perm 644 2>/dev/null)" ] || chmod 600 /etc/sysconfig/flanneld || :
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || :
  ! systemctl -q is-active NetworkManager.service || nmcli general reload conf || :
  ! systemctl -q is-active systemd-networkd.service || networkctl reload || :
  [ "$upgrade" = 0 ] || systemctl try-restart flanneld.service || :
fi
`;

/**
 * Where the unit is that of systemd 219: makes its directories and loads the module of iptables, which from the next
 * boot on systemd does. Comes after {@linkcode AFTER_INSTALL}, which restarts an agent that has both already.
 */
export const AFTER_INSTALL_SYSTEMD_219 = `if [ -d /run/systemd/system ]; then
  systemd-tmpfiles --create flanneld.conf || :
  modprobe -q ip_tables || :
fi
`;

/** Before the last version goes. Not \`disable --now\`, which systemd 219 does not have. */
export const BEFORE_REMOVE = `if [ "$(readlink /opt/cni/bin/flannel)" = /usr/bin/flanneld ]; then
  rm -f /opt/cni/bin/flannel
  rmdir /opt/cni/bin /opt/cni 2>/dev/null || :
fi
if [ -d /run/systemd/system ]; then
  systemctl --no-reload disable flanneld.service || :
  systemctl stop flanneld.service || :
fi
`;

/** After it went. */
export const AFTER_REMOVE = `if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || :
fi
`;

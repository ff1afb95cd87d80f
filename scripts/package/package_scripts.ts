/**
 * Scripts of the packages, as POSIX shell, the same in rpm and deb. An installation starts nothing:
 * the agent needs its settings first. Without a running systemd (in a container, or while an image is
 * built) the scripts do not call it.
 *
 * @module
 */

/**
 * With `$upgrade` 1 or 0. A restart loses no packet. The script changes the mode of settings that an older
 * version, or flannel, installed readable by everybody to 0600; any other mode is the operator's choice.
 */
export const AFTER_INSTALL =
  `[ -z "$(find /etc/sysconfig/flanneld -perm 644 2>/dev/null)" ] || chmod 600 /etc/sysconfig/flanneld || :
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || :
  [ "$upgrade" = 0 ] || systemctl try-restart flanneld.service || :
fi
`;

/** Before the last version goes. */
export const BEFORE_REMOVE = `if [ -d /run/systemd/system ]; then
  systemctl --no-reload disable --now flanneld.service || :
fi
`;

/** After it went. */
export const AFTER_REMOVE = `if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || :
fi
`;

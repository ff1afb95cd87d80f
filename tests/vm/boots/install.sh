#!/bin/sh
# Makes the VM a host of the guide, on its disk: the package, udev, which the machine need not have, etcd with the
# network's config, Docker with the guide's drop-in. $DEB and $UDEV are packages.
set -e
# The machine's own services stay out.
rm -rf /etc/systemd/system/* /etc/systemd/network/* /etc/docker /var/lib/docker /var/lib/etcd/* /var/lib/flannel
echo host100 >/etc/hostname
systemd-machine-id-setup
dpkg-deb -x "$UDEV" /
# Triggers are of other packages, and build the index of all manual pages.
dpkg --no-triggers -i "$DEB"
systemctl -q enable systemd-networkd etcd flanneld docker

# The peer gets the other end.
cat >/etc/systemd/network/10-eth1.netdev <<END
[NetDev]
Name=eth1
Kind=veth
[Peer]
Name=peer
END
cat >/etc/systemd/network/10-eth1.network <<END
[Match]
Name=eth1
[Network]
Address=172.28.128.100/24
ConfigureWithoutCarrier=yes
[Link]
RequiredForOnline=no-carrier
END
# An administrator's file that fits flannel.1 as well.
cat >/etc/systemd/network/50-tunnels.network <<END
[Match]
Kind=vxlan tun ipip
[Network]
DHCP=yes
END
cat >/etc/default/etcd <<END
ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379
ETCD_ADVERTISE_CLIENT_URLS=http://172.28.128.100:2379
END
cat >/etc/sysconfig/flanneld <<END
FLANNEL_ETCD_ENDPOINTS="http://172.28.128.100:2379"
FLANNEL_ETCD_PREFIX="/flannel/network"
FLANNEL_OPTIONS="-iface=eth1 -ip-masq"
END
mkdir -p /etc/systemd/system/docker.service.d
sed "s|^#ExecStart|ExecStart|; s|/usr/bin/dockerd|$(command -v dockerd)|" \
  /usr/lib/systemd/system/docker.service.d/flannel.conf \
  >/etc/systemd/system/docker.service.d/flannel.conf

etcd --name=host100 --data-dir=/var/lib/etcd/default --log-level=warn &
export ETCDCTL_API=3
until etcdctl endpoint health; do sleep 1; done
etcdctl put /flannel/network/config '{"Network": "10.20.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}'
kill $!
wait
chown -R etcd: /var/lib/etcd

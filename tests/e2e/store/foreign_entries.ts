/** Entries of other writers: key, value, and the agents' log line. */
export const FOREIGN: readonly (readonly [key: string, value: string, complaint: string])[] = [
  ["hello", "world", "is not a key of this network"],
  ["10.20.300.0-24", '{"PublicIP":"172.28.128.9"}', "is not a key of this network"],
  ["10.20.201.0-33", '{"PublicIP":"172.28.128.9"}', "is not a key of this network"],
  ["10.20.201.7-24", '{"PublicIP":"172.28.128.9"}', "is not a key of this network"],
  [
    "10.20.202.0-24&fd00:12:13::-56",
    '{"PublicIP":"172.28.128.9","PublicIPv6":"fd00::9"}',
    "is not a key of this network",
  ],
  ["10.20.203.0-24", "not JSON", "holds a value that is not JSON"],
  ["10.20.204.0-24", "[]", "holds a value that is not a JSON object"],
  ["10.20.205.0-24", "{}", "holds a value that has PublicIP undefined, not an IPv4 address"],
  [
    "10.20.206.0-24",
    '{"PublicIP":"fd00::9"}',
    'holds a value that has PublicIP "fd00::9", not an IPv4 address',
  ],
  [
    "10.20.207.0-24",
    `{"PublicIP":"172.28.128.9","BackendData":"${"x".repeat(9000)}"}`,
    "characters long, more than 8192",
  ],
];

/** Leases that can be read and must not be programmed. */
export const HARMFUL: readonly (readonly [key: string, value: string, complaint: string])[] = [
  ["10.20.211.0-24", '{"PublicIP":"172.28.128.9"}', "it is non-vxlan: type=udp or none"],
  [
    "10.20.212.0-24",
    '{"PublicIP":"172.28.128.9","BackendType":"host-gw"}',
    "it is non-vxlan: type=host-gw",
  ],
  [
    "10.20.213.0-24",
    '{"PublicIP":"172.28.128.9","BackendType":"vxlan","BackendData":{"VtepMAC":"ff:ff:ff:ff:ff:ff"}}',
    "it has no usable VtepMAC in its BackendData",
  ],
  [
    "172.28.128.0-24",
    '{"PublicIP":"172.28.128.9","BackendType":"vxlan","BackendData":{"VtepMAC":"0a:00:00:00:00:09"}}',
    "it is outside Network 10.20.0.0/16",
  ],
];

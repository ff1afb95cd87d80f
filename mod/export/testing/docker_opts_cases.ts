/**
 * Shared cases of scripts/mk-docker-opts.sh and `flanneld docker-opts`. The first cases are
 * the table of flannel's own test and of its script as it was observed; the rest are the traps of
 * that script.
 *
 * @module
 */

/** One call and its outcome. */
export interface DockerOptionsCase {
  readonly name: string;
  /** Besides `-f` and `-d`. */
  readonly args: readonly string[];
  /** Text of the env file; without it there is none. */
  readonly file?: string;
  /** Variables of the environment. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Lines of the output; without them the call fails and the output stays as it was. */
  readonly output?: readonly string[];
  /** The beginning of standard error then. */
  readonly error?: string;
}

const NETWORK = "FLANNEL_NETWORK=10.1.0.0/16\n";
const FILE = `${NETWORK}FLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n`;
const INDIVIDUAL = [
  'DOCKER_OPT_BIP="--bip=10.1.74.1/24"',
  'DOCKER_OPT_IPMASQ="--ip-masq=true"',
  'DOCKER_OPT_MTU="--mtu=1472"',
];
const COMBINED = 'DOCKER_OPTS=" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472"';

export const DOCKER_OPTIONS_CASES: readonly DockerOptionsCase[] = [
  { name: "no option", args: [], file: FILE, output: [...INDIVIDUAL, COMBINED] },
  { name: "-i", args: ["-i"], file: FILE, output: INDIVIDUAL },
  { name: "-c", args: ["-c"], file: FILE, output: [COMBINED] },
  { name: "-i -c", args: ["-i", "-c"], file: FILE, output: [...INDIVIDUAL, COMBINED] },
  { name: "-ic", args: ["-ic"], file: FILE, output: [...INDIVIDUAL, COMBINED] },
  {
    name: "-k CUSTOM_KEY",
    args: ["-k", "CUSTOM_KEY"],
    file: FILE,
    output: [...INDIVIDUAL, 'CUSTOM_KEY=" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472"'],
  },
  {
    name: "-m",
    args: ["-m"],
    file: FILE,
    output: [INDIVIDUAL[0]!, INDIVIDUAL[2]!, 'DOCKER_OPTS=" --bip=10.1.74.1/24 --mtu=1472"'],
  },
  {
    name: "the agent masquerades",
    args: ["-c"],
    file: FILE.replace("false", "true"),
    output: ['DOCKER_OPTS=" --bip=10.1.74.1/24 --ip-masq=false --mtu=1472"'],
  },
  {
    name: "the guide's call",
    args: ["-k", "DOCKER_NETWORK_OPTIONS"],
    file: "FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=10.20.2.1/24\nFLANNEL_MTU=1450\n" +
      "FLANNEL_IPMASQ=false\n",
    output: [
      'DOCKER_OPT_BIP="--bip=10.20.2.1/24"',
      'DOCKER_OPT_IPMASQ="--ip-masq=true"',
      'DOCKER_OPT_MTU="--mtu=1450"',
      'DOCKER_NETWORK_OPTIONS=" --bip=10.20.2.1/24 --ip-masq=true --mtu=1450"',
    ],
  },
  {
    name: "a value of the combined variable in the environment",
    args: ["-c", "-k", "DOCKER_NETWORK_OPTIONS"],
    file: FILE,
    environment: { DOCKER_NETWORK_OPTIONS: "--debug" },
    output: ['DOCKER_NETWORK_OPTIONS="--debug  --bip=10.1.74.1/24 --ip-masq=true --mtu=1472"'],
  },
  { name: "no env file", args: [], output: ['DOCKER_OPTS=""'] },
  {
    name: "no env file, -i",
    args: ["-i"],
    output: [],
  },
  { name: "an empty env file", args: [], file: "", output: ['DOCKER_OPTS=""'] },
  {
    name: "an invalid FLANNEL_IPMASQ",
    args: [],
    file: FILE.replace("false", "maybe"),
    error: "Invalid value of FLANNEL_IPMASQ: maybe",
  },
  {
    name: "an invalid FLANNEL_IPMASQ that -m leaves out",
    args: ["-m", "-i"],
    file: FILE.replace("false", "maybe"),
    output: [INDIVIDUAL[0]!, INDIVIDUAL[2]!],
  },
  {
    name: "options of the operator, sorted among flanneld's",
    args: [],
    file: FILE,
    environment: {
      DOCKER_OPT_LOG: "--log-level=warn",
      DOCKER_OPT_A: "--icc=false",
      DOCKER_OPTX: "no",
    },
    output: [
      'DOCKER_OPT_A="--icc=false"',
      INDIVIDUAL[0]!,
      INDIVIDUAL[1]!,
      'DOCKER_OPT_LOG="--log-level=warn"',
      INDIVIDUAL[2]!,
      'DOCKER_OPTS=" --icc=false --bip=10.1.74.1/24 --ip-masq=true --log-level=warn --mtu=1472"',
    ],
  },
  {
    name: "a value with spaces",
    args: [],
    environment: { DOCKER_OPT_LOG: "--log-opt  a b" },
    output: ['DOCKER_OPT_LOG="--log-opt  a b"', 'DOCKER_OPTS=" --log-opt  a b"'],
  },
  {
    name: "a value with quotes, backslashes and dollars",
    args: [],
    environment: { DOCKER_OPT_LOG: "--log-opt tag=\"$x\" `y` \\z 'w'" },
    output: [
      'DOCKER_OPT_LOG="--log-opt tag=\\"\\$x\\" \\`y\\` \\\\z \'w\'"',
      'DOCKER_OPTS=" --log-opt tag=\\"\\$x\\" \\`y\\` \\\\z \'w\'"',
    ],
  },
  {
    name: "an empty option, and a two-line option whose second line resembles another option",
    args: [],
    environment: { DOCKER_OPT_X: "a\nDOCKER_OPT_E=b", DOCKER_OPT_E: "", OTHER: "\nDOCKER_OPT_Z=c" },
    output: [
      'DOCKER_OPT_E=""',
      'DOCKER_OPT_X="a',
      'DOCKER_OPT_E=b"',
      'DOCKER_OPTS="  a',
      'DOCKER_OPT_E=b"',
    ],
  },
  {
    name: "a value in the environment that the env file replaces",
    args: ["-c"],
    file: FILE,
    environment: { FLANNEL_SUBNET: "10.9.9.1/24", FLANNEL_MTU: "1", DOCKER_OPT_BIP: "--bip=none" },
    output: [COMBINED],
  },
  {
    name: "an env file with quotes, export, comments and an option",
    args: ["-c"],
    file: `# by hand\n\nexport FLANNEL_SUBNET="10.1.74.1/24" # comment\nFLANNEL_MTU='1472'\n` +
      `DOCKER_OPT_EXTRA="--label \\"a b\\""\nFLANNEL_IPMASQ=f"al"se`,
    output: [
      'DOCKER_OPTS=" --bip=10.1.74.1/24 --label \\"a b\\" --ip-masq=true --mtu=1472"',
    ],
  },
  {
    name: "a name after -k that is none",
    args: ["-k", "x;touch"],
    file: FILE,
    error: "Invalid variable name after -k: x;touch",
  },
];

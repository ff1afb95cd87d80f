import fc from "fast-check";
import { UsageError } from "../../../mod/cli/errors.ts";
import { FLAGS } from "../../../mod/cli/flags/flags.ts";
import { parseCommandLine } from "../../../mod/cli/flags/parse.ts";
import { textNear } from "../mutate.ts";
import { type FuzzTarget, refusing } from "../target.ts";

/** Words of a command line, and variables as /etc/sysconfig/flanneld sets them. */
interface Line {
  readonly words: readonly string[];
  readonly variables: { readonly [name: string]: string };
}

const SEEDS: readonly Line[] = [
  { words: ["-etcd-endpoints=http://10.0.0.1:2379", "-ip-masq", "-iface", "eth1"], variables: {} },
  { words: ["--remote", "10.0.0.1:8888", "-v=2"], variables: { FLANNELD_IP_MASQ: "true" } },
  { words: ["config", "set", "-", "--yes"], variables: {} },
  { words: [], variables: { FLANNEL_OPTIONS: "-iface=eth1 -v '2'", FLANNEL_ETCD: "http://h:1" } },
  { words: ["-listen", "0.0.0.0:8888", "-networks=a,b"], variables: { FLANNELD_NETWORKS: "c" } },
];

const WORDS = [
  ...["-", "--", "---", "=", "-=", "-h", "help", "version", "--ip-masq=maybe", "-iface=", ""],
  ...["http://", "https://[::1]:2379", "http://u:p@h:1/x", "1.2.3.4", "10.20.0.0/16", "(?i)^eth"],
  ...FLAGS.map(({ name }) => `-${name}`),
  ...FLAGS.map(({ name }) => `--${name}=`),
];
const VARIABLES = [
  ...["FLANNEL_OPTIONS", "FLANNEL_ETCD_ENDPOINTS", "FLANNEL_ETCD_PREFIX", "FLANNELD_NOTHING"],
  ...FLAGS.map(({ name }) => `FLANNELD_${name.toUpperCase().replaceAll("-", "_")}`),
];

const word = fc.oneof(
  fc.constantFrom(...WORDS),
  textNear(WORDS, WORDS),
  fc.tuple(fc.constantFrom(...WORDS), textNear(SEEDS.flatMap(({ words }) => words)))
    .map(([name, value]) => `${name}${value}`),
);

export const commandLine: FuzzTarget<Line> = {
  name: "command_line",
  seeds: SEEDS,
  inputs: fc.record({
    words: fc.array(word, { maxLength: 6 }),
    variables: fc.dictionary(fc.constantFrom(...VARIABLES), word, { maxKeys: 3 }),
  }),
  start: () => ({ words, variables }) => {
    refusing([UsageError], () => void parseCommandLine(words, variables));
  },
};

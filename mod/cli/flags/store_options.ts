/**
 * The store that the settings choose, and its address.
 *
 * @module
 */

import { ConfigError } from "../../config/errors.ts";
import { Prefix } from "../../ip/prefix.ts";
import {
  type EmbeddedStoreOptions,
  type EtcdOptions,
  parseStoreArgument,
  type StoreOptions,
} from "../../store/options.ts";
import { remoteOptions } from "./remote_options.ts";
import type { Settings } from "./settings.ts";
import { isFilePath, present } from "./values.ts";

/** Default path of the embedded store. */
const DEFAULT_FILE = "/var/lib/flannel/leases.db";

/**
 * Validates the settings of the store.
 *
 * @throws {UsageError} at the first value that cannot be used
 */
export function storeOptions(settings: Settings): StoreOptions {
  const text = settings.text("store");
  const remote = remoteOptions(settings);
  if (remote !== undefined && text !== "etcd") {
    throw settings.invalid(
      "store",
      text,
      "with -remote the store is the server's: give one of both",
    );
  }
  const [, kind = "", argument] = /^([^=]*)(?:=(.*))?$/s.exec(text)!;
  if (kind === "embedded") return embeddedOptions(settings, argument);
  for (const name of ["network", "backend"] as const) {
    const value = settings.optional(name);
    if (value === undefined) continue;
    throw settings.invalid(
      name,
      value,
      "it goes with -store embedded; 'flanneld config set' writes the config of other stores",
    );
  }
  if (text === "etcd") return remote ?? { kind: "etcd", ...etcdOptions(settings) };
  try {
    return parseStoreArgument(kind, argument);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw settings.invalid("store", text, error.message);
  }
}

function embeddedOptions(settings: Settings, path: string | undefined): EmbeddedStoreOptions {
  if (path !== undefined && !isFilePath(path)) {
    const why = `expected the path of a file behind embedded=, such as ${DEFAULT_FILE}`;
    throw settings.invalid("store", `embedded=${path}`, why);
  }
  return {
    kind: "embedded",
    path: path ?? DEFAULT_FILE,
    ...present("seed", seed(settings)),
  };
}

/** The config of the flags, without the keys that have defaults in the config. */
function seed(settings: Settings): string | undefined {
  const text = settings.optional("network");
  const length = settings.int("subnet-len");
  const backend = settings.optional("backend");
  if (text === undefined) {
    if (length !== 0) {
      throw settings.invalid("subnet-len", String(length), "it needs the network: give -network");
    }
    if (backend === undefined) return undefined;
    throw settings.invalid("backend", backend, "it needs the network: give -network too");
  }
  const network = Prefix.parse(text);
  if (network === undefined) {
    throw settings.invalid("network", text, "expected a network such as 10.20.0.0/16");
  }
  return JSON.stringify({
    Network: network.toString(),
    ...(length === 0 ? {} : { SubnetLen: length }),
    ...present("Backend", backend === undefined ? undefined : backendObject(settings, backend)),
  });
}

function backendObject(settings: Settings, text: string): unknown {
  if (/^[a-z][a-z0-9-]*$/i.test(text)) return { Type: text };
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  } catch {
    // The error below names the right form.
  }
  throw settings.invalid(
    "backend",
    text,
    'expected a type such as vxlan, or an object such as {"Type":"vxlan","VNI":7}',
  );
}

function etcdOptions(settings: Settings): EtcdOptions {
  const api = settings.text("etcd-api") as EtcdOptions["api"];
  const certFile = settings.optional("etcd-certfile");
  const keyFile = settings.optional("etcd-keyfile");
  if (certFile !== undefined && keyFile === undefined) {
    throw settings.invalid("etcd-certfile", certFile, "it needs its key: give -etcd-keyfile too");
  }
  if (keyFile !== undefined && certFile === undefined) {
    throw settings.invalid(
      "etcd-keyfile",
      keyFile,
      "it needs its certificate: give -etcd-certfile too",
    );
  }
  return {
    endpoints: endpoints(settings, api),
    prefix: etcdPrefix(settings),
    api,
    ...present("caFile", settings.optional("etcd-cafile")),
    ...present("certFile", certFile),
    ...present("keyFile", keyFile),
    ...present("username", settings.optional("etcd-username")),
    ...present("password", settings.optional("etcd-password")),
  };
}

function endpoints(settings: Settings, api: EtcdOptions["api"]): string[] {
  const text = settings.text("etcd-endpoints");
  const members = text.split(",").map((member) => member.trim()).filter((member) => member !== "");
  if (members.length === 0) {
    throw settings.invalid(
      "etcd-endpoints",
      text,
      "expected a URL such as http://127.0.0.1:2379, or several with commas between",
    );
  }
  return members.map((member) => endpoint(settings, member, api));
}

function endpoint(settings: Settings, text: string, api: EtcdOptions["api"]): string {
  const invalid = (why: string, shown = text) => settings.invalid("etcd-endpoints", shown, why);
  if (!/^https?:\/\//i.test(text)) {
    const meant = text.includes("://") ? "http://127.0.0.1:2379" : `http://${text}`;
    throw invalid(
      `expected an http:// or https:// URL such as ${withoutUserInfo(meant)}`,
      withoutUserInfo(text),
    );
  }
  if (!URL.canParse(text) || /\s/.test(text)) {
    throw invalid("not a URL: expected one such as http://127.0.0.1:2379", withoutUserInfo(text));
  }
  const url = new URL(text);
  if (url.username !== "" || url.password !== "") {
    throw invalid(
      "a URL must not hold credentials: use -etcd-username and -etcd-password",
      withoutUserInfo(text),
    );
  }
  if (/[?#]/.test(text)) {
    throw invalid("expected no query and no fragment behind it", text.replace(/[?#].*/s, ""));
  }
  const path = url.pathname.replace(/\/+$/, "");
  if (path !== "" && api === "v3") {
    throw invalid(`etcd's v3 API has no path in its URL: expected ${url.origin}`);
  }
  if (/^\/v[23]($|\/)/.test(path)) {
    throw invalid(`etcd's API adds its own path: expected ${url.origin}`);
  }
  return url.origin + path;
}

/** A URL without `user:password@`, also where the password contains `/`. */
function withoutUserInfo(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/is, "$1");
}

function etcdPrefix(settings: Settings): string {
  const text = settings.text("etcd-prefix");
  const components = text.split("/").filter((component) => component !== "");
  if (components.length === 0 || components.some((name) => name === "." || name === "..")) {
    throw settings.invalid(
      "etcd-prefix",
      text,
      "expected the path of a directory, such as /coreos.com/network",
    );
  }
  return "/" + components.join("/");
}

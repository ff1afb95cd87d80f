import { makeDirectory } from "../../mod/export/atomic_file.ts";
import { sha256 } from "../build/runtime.ts";
import { runTool } from "../build/run_tool.ts";
import type { Link } from "./firewall_tools.ts";
import {
  gzipFile,
  layOut,
  type PackageFile,
  type PackageInfo,
  reproducibleTar,
} from "./package_files.ts";

/** Input of {@linkcode packageOci}. */
export interface ImageContent {
  readonly files: readonly PackageFile[];
  readonly links: readonly Link[];
}

/** `flanneld-0.1.0-linux-x86_64.oci`, the name without the suffix. */
export function imageName({ version, arch }: PackageInfo): string {
  return `flanneld-${version}-linux-${arch}.oci`;
}

/**
 * Writes a container image of one layer: an OCI image layout (image-layout.md of the OCI image specification) in a
 * tar file. Besides it has the manifest of `docker save`, because Docker's image store that is not containerd's reads
 * no other.
 *
 * @param directory where it goes
 * @returns its name
 */
export async function packageOci(
  { files, links }: ImageContent,
  info: PackageInfo,
  directory: string,
): Promise<string> {
  const work = await Deno.makeTempDir({ prefix: "flanneld-package-" });
  try {
    await layOut(files, `${work}/root`);
    // The agent puts sockets there.
    await makeDirectory(`${work}/root/tmp`);
    await Deno.chmod(`${work}/root/tmp`, 0o1777);
    for (const [path, target] of links) {
      await makeDirectory(`${work}/root${path}`.replace(/\/[^/]*$/, ""));
      await Deno.symlink(target, `${work}/root${path}`);
    }
    const layer = `${work}/layer.tar`;
    await runTool(reproducibleTar(info, [`--file=${layer}`, `--directory=${work}/root`, "."]));
    const diffId = `sha256:${await sha256(layer)}`;
    await gzipFile(layer, `${layer}.gz`, info.gzipLevel);

    const image = new ImageLayout(`${work}/image`);
    const compressed = await image.addFile(`${layer}.gz`, `${LAYER}+gzip`);
    const config = await image.addJson(imageConfig(info, diffId), CONFIG);
    const manifest = await image.addJson({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config,
      layers: [compressed],
    }, MANIFEST);
    const reference = `flanneld:${info.version}`;
    await image.write("oci-layout", { imageLayoutVersion: "1.0.0" });
    await image.write("index.json", {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [{
        ...manifest,
        annotations: {
          "io.containerd.image.name": `docker.io/library/${reference}`,
          "org.opencontainers.image.ref.name": info.version,
        },
      }],
    });
    await image.write("manifest.json", [{
      Config: blobPath(config),
      RepoTags: [reference],
      Layers: [blobPath(compressed)],
    }]);
    const name = `${imageName(info)}.tar`;
    await runTool(reproducibleTar(info, [
      ...[`--file=${directory}/${name}`, `--directory=${work}/image`],
      ...["blobs", "index.json", "manifest.json", "oci-layout"],
    ]));
    return name;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

const LAYER = "application/vnd.oci.image.layer.v1.tar";
const CONFIG = "application/vnd.oci.image.config.v1+json";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

/** Names of architectures in images are Go's. */
const ARCHITECTURES = { x86_64: "amd64", aarch64: "arm64" } as const;

/** config.md of the OCI image specification. */
function imageConfig({ version, arch, sourceDateEpoch }: PackageInfo, diffId: string): unknown {
  const created = new Date(sourceDateEpoch * 1000).toISOString().replace(".000", "");
  return {
    created,
    architecture: ARCHITECTURES[arch],
    os: "linux",
    config: {
      Env: ["PATH=/usr/sbin:/usr/bin"],
      Entrypoint: ["/usr/bin/flanneld"],
      StopSignal: "SIGTERM",
      Labels: {
        "org.opencontainers.image.title": "flanneld",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "Apache-2.0",
      },
    },
    rootfs: { type: "layers", diff_ids: [diffId] },
    history: [{ created, created_by: "deno task package --oci" }],
  };
}

/** Descriptor of a blob, descriptor.md of the OCI image specification. */
interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

function blobPath({ digest }: Descriptor): string {
  return `blobs/${digest.replace(":", "/")}`;
}

/** Directory of an image layout. */
class ImageLayout {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Writes a JSON file. */
  async write(name: string, value: unknown): Promise<void> {
    await Deno.writeTextFile(`${this.#directory}/${name}`, JSON.stringify(value));
  }

  /** Writes a JSON blob. */
  async addJson(value: unknown, mediaType: string): Promise<Descriptor> {
    const path = await Deno.makeTempFile({ prefix: "flanneld-package-" });
    try {
      await Deno.writeTextFile(path, JSON.stringify(value));
      return await this.addFile(path, mediaType);
    } finally {
      await Deno.remove(path);
    }
  }

  /** Copies a file into a blob. */
  async addFile(path: string, mediaType: string): Promise<Descriptor> {
    const digest = await sha256(path);
    const blobs = `${this.#directory}/blobs/sha256`;
    await makeDirectory(blobs);
    await Deno.copyFile(path, `${blobs}/${digest}`);
    await Deno.chmod(`${blobs}/${digest}`, 0o644);
    return { mediaType, digest: `sha256:${digest}`, size: (await Deno.stat(path)).size };
  }
}

import { assertEquals, assertThrows } from "@std/assert";
import { CniError } from "../errors.ts";
import { leasedAttachments } from "./host_local.ts";
import {
  listSavedConfigs,
  readSavedConfig,
  removeSavedConfig,
  saveConfig,
} from "./saved_config.ts";

Deno.test("saveConfig() keeps one configuration a container, until it is removed", async () => {
  const directory = await Deno.makeTempDir();
  const dataDir = `${directory}/cni/flannel`;
  try {
    assertEquals([listSavedConfigs(dataDir), readSavedConfig(dataDir, "c1")], [[], undefined]);
    saveConfig(dataDir, "c1", "one");
    saveConfig(dataDir, "c1", "two");
    assertEquals([listSavedConfigs(dataDir), readSavedConfig(dataDir, "c1")], [["c1"], "two"]);
    removeSavedConfig(dataDir, "c1");
    removeSavedConfig(dataDir, "c1");
    assertEquals([...Deno.readDirSync(dataDir)], []);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("saveConfig() leaves no file when it fails", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${directory}/c1/full`, { recursive: true });
    const error = assertThrows(() => saveConfig(directory, "c1", "one"), CniError);
    assertEquals([error.code, error.message], [5, `cannot write ${directory}/c1`]);
    assertEquals([...Deno.readDirSync(directory)].map(({ name }) => name), ["c1"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("leasedAttachments() reads host-local's files, and skips its others", async () => {
  const dataDir = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${dataDir}/cbr0`);
    const files = {
      ...{ "10.20.93.2": "c1\r\neth0", "fd00::2": "c1\r\neth0", "10.20.93.3": "c2\nnet1" },
      ...{ "last_reserved_ip.0": "10.20.93.3", lock: "" },
    };
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${dataDir}/cbr0/${name}`, text);
    }
    const found = leasedAttachments({ name: "cbr0", ipam: { dataDir } });
    assertEquals(found.sort((a, b) => a.containerID < b.containerID ? -1 : 1), [
      { containerID: "c1", ifname: "eth0" },
      { containerID: "c2", ifname: "net1" },
    ]);
    assertEquals(leasedAttachments({ name: "other", ipam: { dataDir } }), []);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
});

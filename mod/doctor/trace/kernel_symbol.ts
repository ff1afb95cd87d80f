/** proc(5): address, type and name of each kernel symbol; addresses are 0 without the permission to read them. */
const PATH = "/proc/kallsyms";

/** Name of the kernel's function that an address lies in; `undefined` where it is not shown. */
export function nameOfSymbol(address: bigint): string | undefined {
  let text: string;
  try {
    text = Deno.readTextFileSync(PATH);
  } catch {
    return undefined;
  }
  return findSymbol(text, address);
}

/** The symbol at or nearest before an address. @param text of /proc/kallsyms */
export function findSymbol(text: string, address: bigint): string | undefined {
  // Hex digits of one length compare as the numbers do.
  const wanted = address.toString(16).padStart(16, "0");
  let [best, name] = ["0".repeat(16), ""];
  for (const [, at, type, symbol] of text.matchAll(/^([0-9a-f]{16}) (\w) (\S+)/gm)) {
    if (/[tTwW]/.test(type!) && at! <= wanted && at! > best) [best, name] = [at!, symbol!];
  }
  return name === "" ? undefined : name;
}

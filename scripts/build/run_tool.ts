/**
 * Runs a tool to its end.
 *
 * @throws {Error} with its output, when it fails or is not installed
 */
export async function runTool(
  command: readonly [string, ...string[]],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<string> {
  const [name, ...args] = command;
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(name, { args, ...options }).output();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new Error(`${name} is not installed; scripts/setup.sh installs it`);
    }
    throw error;
  }
  const decoder = new TextDecoder();
  if (!output.success) {
    const text = decoder.decode(output.stderr).trim() || decoder.decode(output.stdout).trim();
    throw new Error(`${name} failed with ${output.code}:\n${text}`);
  }
  return decoder.decode(output.stdout);
}

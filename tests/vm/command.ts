/** Runs a command. @returns what it printed @throws {Error} what it said, when it failed */
export async function run(
  [program, ...args]: readonly string[],
  options: Pick<Deno.CommandOptions, "cwd"> = {},
): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program!, { args, ...options })
    .output();
  if (!success) {
    throw new Error(`${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr).trim()}`);
  }
  return new TextDecoder().decode(stdout);
}

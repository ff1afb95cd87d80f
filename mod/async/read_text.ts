/**
 * Reads a body as UTF-8, up to a limit: a server may send without end.
 *
 * @param most bytes
 * @throws {Error} when it is longer; and as reading does
 */
export async function readText({ body }: Response, most: number): Promise<string> {
  if (body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  let length = 0;
  // Leaving the loop cancels the body.
  for await (const piece of body) {
    length += piece.length;
    if (length > most) throw new Error(`the answer is longer than ${most} bytes`);
    text += decoder.decode(piece, { stream: true });
  }
  return text + decoder.decode();
}

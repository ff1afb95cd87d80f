import { LinkKind } from "./link_kind.ts";

/** Attributes of a bridge: none that this program sets. */
export type BridgeAttributes = Record<never, never>;

/** Kind of bridges. */
export const BRIDGE = new LinkKind<BridgeAttributes>({
  name: "bridge",
  encode: () => {},
  decode: () => ({}),
  describe: () => [],
});

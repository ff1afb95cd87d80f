import { CLEAR_TEXT, clearTextServers } from "../../store/remote/clear_text.ts";
import { type Check, ok, warning } from "../check.ts";

/** Checks that a client of `-listen` sends its token over TLS. */
export const tokenCheck: Check = {
  id: "token",
  title: "the token of -remote is encrypted",
  run({ options: { store } }) {
    if (store.kind !== "remote" || store.tokenFile === undefined) return ok("no token is used");
    const servers = clearTextServers(store);
    if (servers.length === 0) return ok("it is sent over TLS or loopback only");
    return warning(`${servers.join()}: ${CLEAR_TEXT.risk}`, {
      fix: [CLEAR_TEXT.onServer, CLEAR_TEXT.onClient],
    });
  },
};

import type { HttpReply } from "../../http/reply.ts";

/** Path of the socket that dockerd finds the plugin by: the driver is named after the file. */
export const SOCKET = "/run/docker/plugins/flannel.sock";

/** Docker's plugin protocol (docs.docker.com/engine/extend/plugin_api). */
const CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json";

/** Encodes the result of a call. */
export function result(value: object): HttpReply {
  return { status: 200, contentType: CONTENT_TYPE, body: JSON.stringify(value) };
}

/**
 * Encodes the refusal of a call. Network drivers have the member `Err`, IPAM drivers `Error`. libnetwork prints that
 * of a reply with status 200 behind `remote: `, of others behind the name of the call.
 *
 * @param message one line
 */
export function refusal(message: string, status = 200): HttpReply {
  return {
    status,
    contentType: CONTENT_TYPE,
    body: JSON.stringify({ Err: message, Error: message }),
  };
}

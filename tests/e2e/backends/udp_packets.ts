/**
 * Datagrams of the udp backend made by hand, for the tests of who is believed:
 *
 * - `send HOST SOURCE DESTINATION TEXT` sends one packet from port 40000 of SOURCE to port 9009 of
 *   DESTINATION, wrapped as flannel does, to HOST's port 8285;
 * - `flows HOST NETWORK DESTINATION COUNT` sends COUNT such packets, each from another port of this host and another
 *   source in NETWORK (`10.20.3.`);
 * - `plain ADDRESS COUNT` sends COUNT packets by way of the device, each from another port of this host;
 * - `receive ADDRESS` prints "listening", and then source address and text of each packet that arrives.
 *
 * @module
 */
import { udpPacket } from "../../../backends/udp/user/testing/packets.ts";
import { parseIPv4 } from "../../../mod/ip/mod.ts";

const TUNNEL_PORT = 8285;
const PORT = 9009;

/** Sends one packet in one datagram, from a port that the kernel chooses. */
async function send(host: string, source: string, destination: string, text: string) {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
  const packet = udpPacket({
    ...{ source: parseIPv4(source)!, destination: parseIPv4(destination)! },
    ...{ destinationPort: PORT, payload: new TextEncoder().encode(text) },
  });
  await socket.send(packet, { transport: "udp", hostname: host, port: TUNNEL_PORT });
  socket.close();
}

const [mode, ...args] = Deno.args;
switch (mode) {
  case "send":
    await send(args[0]!, args[1]!, args[2]!, args[3]!);
    break;
  case "flows":
    for (let i = 0; i < Number(args[3]); i++) {
      await send(args[0]!, `${args[1]}${i + 1}`, args[2]!, `flow ${i}`);
    }
    break;
  case "plain":
    for (let i = 0; i < Number(args[1]); i++) {
      const socket = Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
      const to = { transport: "udp", hostname: args[0]!, port: PORT } as const;
      await socket.send(new TextEncoder().encode(`plain ${i}`), to);
      socket.close();
    }
    break;
  case "receive": {
    const socket = Deno.listenDatagram({ transport: "udp", hostname: args[0]!, port: PORT });
    console.log("listening");
    for await (const [bytes, from] of socket) {
      console.log(`${(from as Deno.NetAddr).hostname} ${new TextDecoder().decode(bytes)}`);
    }
  }
}

import { makeDirectory } from "../../export/atomic_file.ts";
import { ExportError } from "../../export/errors.ts";
import { feedWatchdog, info, notifySystemd, warning } from "../../observe/mod.ts";
import { jsonResponse } from "../../observe/serve/pages.ts";
import { isLocal } from "../../store/options.ts";
import { clearTextServers, clearTextWarning } from "../../store/remote/clear_text.ts";
import { trimMemory } from "../../sys/mod.ts";
import { VERSION } from "../../version.ts";
import { answerContainers } from "../host/container_answers.ts";
import { serveDocker } from "../host/docker_networks.ts";
import { requireHookProgram } from "../host/hook_program.ts";
import { type PublishedOptions, publishOptions } from "../host/published_options.ts";
import type { AgentOptions } from "./options.ts";
import { serveNetwork } from "../server/serve_network.ts";
import { StatusPages } from "../status/pages.ts";
import { serveSocket, serveTcp } from "../status/server.ts";
import type { AgentView } from "../status/view.ts";
import { WaitingNetworks } from "../status/waiting.ts";

/**
 * Runs the agent: `flanneld` without a subcommand.
 *
 * The kernel's data path and the lease stay when the agent ends, so a restart loses no packet.
 *
 * @param signal stops the agent
 * @param published the options as other commands read them
 * @returns the exit code
 * @throws {HookError} when the command of `-on-subnet-change` cannot be run
 * @throws {AlreadyRunningError} when another agent works for the same subnet file
 * @throws {InterfaceError} when no interface fits
 * @throws {DuplicatePublicIPError} when another live host has this host's public IP
 * @throws {HealthError | ListenError} when the health endpoint or the server cannot listen
 * @throws {ExportError} when a directory or lock file cannot be created
 * @throws {StoreError | SysError | FirewallError} when the host or the store refuses a required step
 */
export async function runAgent(
  options: AgentOptions,
  signal: AbortSignal,
  published: PublishedOptions,
): Promise<number> {
  info(`flanneld ${VERSION} starting`, { version: VERSION });
  const { onSubnetChange } = options;
  if (options.store.kind === "remote") {
    const servers = clearTextServers(options.store);
    if (servers.length > 0) warning(clearTextWarning(`-remote ${servers.join()}`));
  }
  if (onSubnetChange !== undefined) requireHookProgram(onSubnetChange[0]);
  const stopping = () => {
    info("Exiting...");
    notifySystemd("STOPPING=1");
  };
  signal.addEventListener("abort", stopping, { once: true });
  // Removes the socket's file also when an error ends the agent.
  const ended = new AbortController();
  using _trimming = trimMemory();
  try {
    const views: AgentView[] = [];
    const waiting = new WaitingNetworks();
    const status = new StatusPages({
      views: () => views,
      waiting: () => waiting.views,
      isReady: () => {
        // A network without a config waits, before its agent runs and after.
        const begun = views.filter(({ known, active }) =>
          "text" in known.config || active !== undefined
        );
        return begun.length > 0 && begun.every(({ isReady }) => isReady);
      },
      ...options.status,
      signal,
    });
    await serveTcp(options, status.pages, signal);
    const onAgent = (view: AgentView) => {
      views.push(view);
      return () => void views.splice(views.indexOf(view), 1);
    };
    answerContainers(() => views, signal);
    await using resources = new AsyncDisposableStack();
    const serveStatus = async () => {
      resources.use(await publishOptions(options, published));
      const pages = { ...status.pages, "/options": () => jsonResponse(published) };
      await serveSocket(options.status, pages, ended.signal);
      if (options.dockerPlugin) await serveDocker(() => views, ended.signal);
    };
    const feed = () => feedWatchdog({ isWell: status.isWell, signal });
    const parts: Promise<unknown>[] = [];
    const { listen, store } = options;
    if (listen !== undefined) {
      const { startServer } = await import("../server/serve.ts");
      const isServerOnly = !isLocal(store);
      const server = await startServer({ ...{ store, listen, signal }, notify: isServerOnly });
      if (isServerOnly) {
        feedWatchdog({ isWell: () => true, signal });
        await server.done;
        signal.throwIfAborted();
      }
      // The server shares the embedded store's file with this host's own agent.
      parts.push(server.done.then(() => signal.throwIfAborted()));
    }
    if (options.networks !== undefined) {
      await makeSubnetDirectory(options.networks.directory);
      await serveStatus();
      feed();
      const { serveNetworks } = await import("../networks/networks.ts");
      parts.push(serveNetworks(options, options.networks, { signal, onAgent, waiting }));
    } else {
      const name = "";
      waiting.begin(name, options.subnetFile);
      parts.push(serveNetwork(options, {
        signal,
        onLocked: serveStatus,
        onWaiting: (reason) => waiting.report(name, reason),
        onAgent: (view) => {
          waiting.end(name);
          onAgent(view);
          feed();
        },
      }));
    }
    // All of them run until the signal aborts or they fail.
    await Promise.race(parts);
    return 1;
  } catch (error) {
    if (signal.aborted) {
      info("Exiting cleanly...");
      return 0;
    }
    throw error;
  } finally {
    ended.abort();
    signal.removeEventListener("abort", stopping);
  }
}

async function makeSubnetDirectory(directory: string): Promise<void> {
  try {
    await makeDirectory(directory);
  } catch (cause) {
    throw ExportError.from(`cannot create the directory ${directory} (-subnet-dir)`, cause);
  }
}

import type { GoObject } from "../../mod/config/mod.ts";
import type { Prefix } from "../../mod/ip/mod.ts";
import type { Backend, BackendContext, BackendFinding, ReleaseContext } from "../backend.ts";
import { plainInspection } from "../plain_inspection.ts";
import { routeStep, underlayStep } from "../steps.ts";
import { describeProviderChange } from "./desired.ts";
import { ProviderError } from "./errors.ts";
import { ProviderNetwork } from "./network.ts";
import type { RouteProvider } from "./provider.ts";
import { ownRoutes, RouteReconciler } from "./reconciler.ts";
import { retry } from "./retry.ts";
import { counted } from "../../mod/text/mod.ts";

/** Seconds between two checks of the provider's tables, where the config has no other. */
const REPAIR_PERIOD = 60;

/** Limit for opening the provider, in milliseconds. */
const OPEN_LIMIT = 10_000;

/** Parts of a provider's backend. */
export interface ProviderBackendParts {
  /** Value of `Backend.Type`. */
  readonly type: string;
  /** The page that explains the provider's refusals: `docs/backends/aws.md`. */
  readonly document: string;
  /**
   * Reads the options that are the provider's own, and does nothing else.
   *
   * @throws {ConfigError} for a bad option
   * @default it has none
   */
  readonly readOptions?: (options: GoObject) => void;
  /**
   * Reads the options and identifies this machine.
   *
   * @throws {ConfigError} for a bad option
   * @throws {ProviderError} when this is not a machine of the provider
   */
  open(context: ProviderContext, signal: AbortSignal): Promise<RouteProvider>;
}

/** Input for opening a provider. */
export type ProviderContext = Pick<BackendContext, "config" | "external">;

/** The backend of a provider: all but the provider itself. */
export function providerBackend(
  { type, document, readOptions, open }: ProviderBackendParts,
): Backend {
  const openInTime = async (context: ProviderContext, signal = new AbortController().signal) => {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(OPEN_LIMIT)]);
    try {
      return await retry(() => open(context, limit), { signal: limit });
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ProviderError) {
        throw new ProviderError(error.kind, `${type}: ${error.message}`, { cause: error });
      }
      throw error;
    }
  };
  return {
    ...{ type, document, changesKernel: false },
    mtuFor(options, interfaceMtu) {
      repairPeriodOf(options);
      readOptions?.(options);
      return interfaceMtu;
    },
    inspect: (context) => ({
      ...plainInspection(context),
      describe: ({ attributes }, _own, address) => [
        routeStep(context.netlink, address, { device: context.external.name }),
        underlayStep(context.netlink, context.external, attributes.publicIP),
      ],
    }),
    async prepare(context) {
      const repairPeriod = repairPeriodOf(context.config.backend.options);
      const provider = await openInTime(context, context.signal);
      return new ProviderNetwork(provider, context, { repairPeriod });
    },
    async release(context) {
      const provider = await openInTime(context, context.signal);
      return await findRoutes(provider, context);
    },
    async check(context, own) {
      return await check(() => openInTime(context, context.signal), context, own);
    },
  };
}

/**
 * Reads `RepairPeriod`, in seconds.
 *
 * @throws {ConfigError} for a value of the wrong type or out of range
 */
export function repairPeriodOf(options: GoObject): number {
  return options.int("RepairPeriod", { min: 1, max: 86_400 }) ?? REPAIR_PERIOD;
}

/** Routes to this host, each with the way to remove it. */
async function findRoutes(
  provider: RouteProvider,
  { config, formerNetworks, signal }: ReleaseContext,
): Promise<{ what: string; remove(): Promise<void> }[]> {
  const survey = await retry(() => provider.survey(signal), { signal });
  const networks = [config.network, ...formerNetworks];
  return ownRoutes(survey, { networks, subnetLen: config.subnetLen }).map((change) => ({
    what: describeProviderChange(change, survey.self).map(({ text }) => text).join(", "),
    remove: async () => {
      try {
        await retry(() => provider.remove(change.table, change.route, signal), { signal });
      } catch (error) {
        if (!(error instanceof ProviderError) || error.kind !== "missing") throw error;
      }
    },
  }));
}

/** Checks the provider as the agent would, for an operator. */
async function check(
  open: () => Promise<RouteProvider>,
  { config, formerNetworks, signal }: BackendContext,
  own: Prefix | undefined,
): Promise<BackendFinding[]> {
  try {
    const provider = await open();
    const wanted = {
      own,
      networks: [config.network, ...formerNetworks],
      subnetLen: config.subnetLen,
    };
    const { survey, lines, obstacles } = await new RouteReconciler(provider)
      .look(wanted, signal ?? new AbortController().signal);
    return [
      {
        state: "ok",
        text: `this machine is ${survey.self}; route tables: ` +
          survey.tables.map(({ id, routes }) => `${id} with ${counted(routes.length, "route")}`)
            .join(", "),
      },
      ...obstacles.map((text): BackendFinding => ({ state: "failed", text })),
      ...lines.map(({ sign, text }): BackendFinding => ({
        state: "warning",
        text: sign === "+" ? `missing: ${text}` : `in the way: ${text}`,
      })),
    ];
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    return [{ state: "failed", text: error.message }];
  }
}

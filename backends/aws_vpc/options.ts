import { ConfigError, type GoObject } from "../../mod/config/mod.ts";
import { truncate } from "../../mod/text/mod.ts";

/** As EC2 names a route table. */
const ROUTE_TABLE_ID = /^rtb-[0-9a-f]{8,17}$/;

/** `Backend` of an aws-vpc network. */
export interface AwsVpcOptions {
  /** Tables that are to have our route; none means the table of the interface's subnet. */
  readonly routeTableIds: readonly string[];
}

/**
 * Reads the options.
 *
 * @throws {ConfigError} for a value of the wrong type, or what is no route table's id
 */
export function awsVpcOptions(options: GoObject): AwsVpcOptions {
  const ids = (options.strings("RouteTableID") ?? []).filter((id) => id !== "");
  for (const id of ids) {
    if (!ROUTE_TABLE_ID.test(id)) {
      throw new ConfigError(
        `${options.path("RouteTableID")} must be the id of a route table such as ` +
          `rtb-0a1b2c3d4e5f60718, or a list of such, not ${JSON.stringify(truncate(id, 60))}`,
      );
    }
  }
  return { routeTableIds: [...new Set(ids)] };
}

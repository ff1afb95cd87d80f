/** AWS settings in the environment; an empty value counts as unset. */
export class AwsEnvironment {
  readonly #values: Readonly<Record<string, string | undefined>>;

  /** @param values by name. @default the process's */
  constructor(values: Readonly<Record<string, string | undefined>> = Deno.env.toObject()) {
    this.#values = values;
  }

  /** A variable of this name, the first that is set. */
  get(...names: readonly string[]): string | undefined {
    for (const name of names) {
      const value = this.#values[name]?.trim();
      if (value !== undefined && value !== "") return value;
    }
    return undefined;
  }

  /** A variable that is `true` or `false`, whatever its case; anything else counts as not set. */
  flag(name: string): boolean | undefined {
    const value = this.get(name)?.toLowerCase();
    return value === "true" ? true : value === "false" ? false : undefined;
  }

  /**
   * Returns the endpoint of a service: AWS_ENDPOINT_URL_<SERVICE> or AWS_ENDPOINT_URL, else its own
   * address.
   *
   * @param service `ec2`
   */
  endpoint(service: string, region: string): URL | undefined {
    const named = this.get(`AWS_ENDPOINT_URL_${service.toUpperCase()}`, "AWS_ENDPOINT_URL");
    const domain = region.startsWith("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
    return URL.parse(named ?? `https://${service}.${region}.${domain}/`) ?? undefined;
  }
}

import type { CloudLab, CloudMachine } from "./cloud_lab.ts";
import { Ec2Proxy } from "./ec2_proxy.ts";
import { Imds } from "./imds.ts";
import { type BotoAnswer, Moto, REGION } from "./moto.ts";
import type { ServePlace } from "./serve.ts";

/** Read-only actions. */
const READS = /^(Describe|Get|List|AssumeRole)/;

/** Addresses of the fake's servers, and the limit of machines. */
export interface AwsLabOptions extends ServePlace {
  /** CIDR of the VPC and of its one subnet. @default 172.28.0.0/16 and 172.28.128.0/24 */
  readonly cidrs?: readonly [vpc: string, subnet: string];
  /** Reset, and left running at the end. A start of one takes 2 s of processor time. @default a new one */
  readonly moto?: Moto;
}

/**
 * A VPC with one subnet in a real moto, instances with an interface and a metadata service each, and a
 * proxy that fails on demand before it.
 */
export class AwsLab implements CloudLab {
  readonly moto: Moto;
  readonly proxy: Ec2Proxy;
  readonly vpcId: string;
  readonly subnetId: string;
  /** The VPC's main table. */
  readonly table: string;
  /** By the name of their machine. */
  readonly metadata = new Map<string, Imds>();
  readonly #machines: CloudMachine[] = [];
  readonly #instances = new Map<string, string>();
  readonly #place: ServePlace;
  readonly #stack: AsyncDisposableStack;
  #seen = 0;

  private constructor(
    parts: { moto: Moto; proxy: Ec2Proxy; vpcId: string; subnetId: string; table: string },
    place: ServePlace,
    stack: AsyncDisposableStack,
  ) {
    Object.assign(this, parts);
    this.moto = parts.moto;
    this.proxy = parts.proxy;
    this.vpcId = parts.vpcId;
    this.subnetId = parts.subnetId;
    this.table = parts.table;
    this.#place = place;
    this.#stack = stack;
  }

  static async start(options: AwsLabOptions = {}): Promise<AwsLab> {
    const { cidrs = ["172.28.0.0/16", "172.28.128.0/24"], moto: shared, ...place } = options;
    const [vpc, subnet] = cidrs;
    await using stack = new AsyncDisposableStack();
    await shared?.reset();
    const moto = shared ?? stack.use(await Moto.start());
    const { Vpc } = await moto.call("ec2", "create_vpc", { CidrBlock: vpc });
    const { Subnet } = await moto.call("ec2", "create_subnet", {
      ...{ VpcId: Vpc.VpcId, CidrBlock: subnet },
    });
    const { RouteTables } = await moto.call("ec2", "describe_route_tables", {
      Filters: [{ Name: "vpc-id", Values: [Vpc.VpcId] }],
    });
    const proxy = stack.use(new Ec2Proxy(moto.endpoint, place));
    return new AwsLab(
      {
        ...{ moto, proxy, vpcId: Vpc.VpcId, subnetId: Subnet.SubnetId },
        table: RouteTables[0].RouteTableId,
      },
      place,
      stack.move(),
    );
  }

  get secrets(): readonly string[] {
    return [...this.metadata.values()].flatMap(({ credentials: { SecretAccessKey, Token } }) => [
      SecretAccessKey,
      Token,
    ]);
  }

  async addMachine(name: string, address: string): Promise<CloudMachine> {
    const { Instances } = await this.moto.call("ec2", "run_instances", {
      ...{ ImageId: "ami-12c6146b", MinCount: 1, MaxCount: 1 },
      SubnetId: this.subnetId,
    });
    const { InstanceId } = Instances[0];
    // An interface of its own: moto does not free the address of one that goes with its instance.
    const { NetworkInterface } = await this.moto.call("ec2", "create_network_interface", {
      ...{ SubnetId: this.subnetId, PrivateIpAddress: address },
    });
    const target: string = NetworkInterface.NetworkInterfaceId;
    await this.moto.call("ec2", "attach_network_interface", {
      ...{ NetworkInterfaceId: target, InstanceId, DeviceIndex: 1 },
    });
    const metadata = this.#stack.use(
      new Imds({
        ...{ hostname: this.#place.hostname ?? "127.0.0.1" },
        ...(this.#place.netns === undefined ? {} : { netns: this.#place.netns }),
        ...{ instanceId: InstanceId, region: REGION, role: "flannel" },
      }),
    );
    this.metadata.set(name, metadata);
    const machine: CloudMachine = {
      ...{ name, address, target },
      env: {
        // Hides the tester's own settings: an empty variable counts as unset.
        ...{ AWS_ACCESS_KEY_ID: "", AWS_SECRET_ACCESS_KEY: "", AWS_PROFILE: "", AWS_REGION: "" },
        ...{ AWS_SHARED_CREDENTIALS_FILE: "/nonexistent", AWS_CONFIG_FILE: "/nonexistent" },
        AWS_ENDPOINT_URL: this.proxy.endpoint,
        AWS_EC2_METADATA_SERVICE_ENDPOINT: metadata.endpoint,
      },
    };
    this.#machines.push(machine);
    this.#instances.set(name, InstanceId);
    return machine;
  }

  async terminate({ name, target }: CloudMachine): Promise<void> {
    const id = this.#instances.get(name)!;
    await this.moto.call("ec2", "terminate_instances", { InstanceIds: [id] });
    await this.moto.call("ec2", "delete_network_interface", { NetworkInterfaceId: target });
    this.proxy.gone.add(target);
  }

  async addRoute(destination: string, { target }: CloudMachine): Promise<void> {
    await this.moto.call("ec2", "create_route", {
      RouteTableId: this.table,
      DestinationCidrBlock: destination,
      NetworkInterfaceId: target,
    });
  }

  async removeRoute(destination: string): Promise<void> {
    await this.moto.call("ec2", "delete_route", {
      ...{ RouteTableId: this.table, DestinationCidrBlock: destination },
    });
  }

  async routes(table = this.table): Promise<string[]> {
    const { RouteTables } = await this.moto.call("ec2", "describe_route_tables", {
      RouteTableIds: [table],
    });
    return RouteTables[0].Routes
      .filter((route: BotoAnswer) => route.NetworkInterfaceId !== undefined)
      .map((route: BotoAnswer) =>
        `${route.DestinationCidrBlock} ${this.#nameOf(route.NetworkInterfaceId)}`
      )
      .sort();
  }

  /** Whether a machine's interface drops packets of other addresses. */
  async sourceDestCheck({ target }: CloudMachine): Promise<boolean> {
    const { NetworkInterfaces } = await this.moto.call("ec2", "describe_network_interfaces", {
      NetworkInterfaceIds: [target],
    });
    return NetworkInterfaces[0].SourceDestCheck;
  }

  throttle(times: number): void {
    this.proxy.throttle(times);
  }

  break(times: number): void {
    this.proxy.break(times);
  }

  denyCreate(): void {
    this.proxy.deny("CreateRoute");
  }

  denyRead(): void {
    this.proxy.deny("DescribeRouteTables");
  }

  heal(): void {
    this.proxy.heal();
  }

  takeChanges(): string[] {
    const calls = this.proxy.calls.slice(this.#seen);
    this.#seen = this.proxy.calls.length;
    return calls.map(({ action }) => action).filter((action) => !READS.test(action));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  #nameOf(target: string): string {
    return this.#machines.find((machine) => machine.target === target)?.name ?? target;
  }
}

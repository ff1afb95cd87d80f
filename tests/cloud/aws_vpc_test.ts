import { AwsLab } from "./aws_lab.ts";
import { type CloudSubject, providerCases } from "./provider_cases.ts";

const AWS: CloudSubject = {
  type: "aws-vpc",
  start: () => AwsLab.start(),
  denied: /ec2:CreateRoute on route table rtb-\w+ is not allowed to role flannel of the instance/,
  calls: {
    first: ["ModifyNetworkInterfaceAttribute", "CreateRoute"],
    replace: ["ReplaceRoute"],
    remove: ["DeleteRoute"],
  },
};

providerCases(AWS);

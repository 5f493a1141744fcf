import * as z from "zod";
import { durationOrEmpty, objectName } from "../blocks/scalars.ts";
import { httpUrl, identifier } from "../blocks/web.ts";
import { actionNeeds } from "../rule.ts";
import type { ExperimentDefinition } from "./definition.ts";
import { unusedBy } from "./ineffective.ts";
import { cloud, describeDuration, duration, remoteCluster } from "./shared.ts";

const schema = z.strictObject({
  action: z
    .enum(["ec2-stop", "ec2-restart", "detach-volume"])
    .describe("ec2-stop stops an instance for a while, ec2-restart restarts it once, detach-volume takes a volume from it for a while."),
  awsRegion: identifier('Write one such as "eu-west-1".', { mayBeEmpty: true })
    .optional()
    .describe("Region of the instance; the one of the credentials by default."),
  ec2Instance: identifier('Write the ID of the instance, such as "i-0abc".').describe("ID of the instance."),
  volumeID: identifier('Write one such as "vol-0def".', { mayBeEmpty: true })
    .optional()
    .describe("ID of the EBS volume, for detach-volume."),
  deviceName: identifier('Write one such as "/dev/sdf".', { mayBeEmpty: true })
    .optional()
    .describe("Name of the volume's device on the instance, for detach-volume."),
  secretName: objectName()
    .optional()
    .describe(
      "Secret of the experiment's namespace with aws_access_key_id, aws_secret_access_key and perhaps aws_session_token; what surrounds the controller by default.",
    ),
  endpoint: httpUrl("https://ec2.example.com").optional().describe("URL of another service that speaks the API of EC2."),
  duration: durationOrEmpty().optional().describe(duration),
  remoteCluster: objectName().optional().describe(remoteCluster),
});

export const awsChaos: ExperimentDefinition<typeof schema> = {
  ...cloud,
  kind: "AWSChaos",
  plural: "awschaos",
  isOneShot: ({ action }) => action === "ec2-restart",
  schema,
  rules: [
    actionNeeds("detach-volume", [
      { name: "volumeID", is: "text", write: 'Write the ID of the volume, such as "vol-0def".' },
      { name: "deviceName", is: "text", write: 'Write its device on the instance, such as "/dev/sdf".' },
    ]),
  ],
  ineffective: (spec) => unusedBy(spec, { volumeID: ["detach-volume"], deviceName: ["detach-volume"] }),
  explain: (spec) => {
    const instance = `the EC2 instance ${spec.ec2Instance}${spec.awsRegion ? ` in ${spec.awsRegion}` : ""}`;
    switch (spec.action) {
      case "ec2-stop":
        return `Stops ${instance}${describeDuration(spec)}.`;
      case "ec2-restart":
        return `Restarts ${instance}.`;
      case "detach-volume":
        return `Detaches the volume ${spec.volumeID ?? ""} from ${instance}${describeDuration(spec)}.`;
    }
  },
};

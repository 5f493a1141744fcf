import { labels, OPTED_IN, SYSTEM_NAMESPACE } from "../../common/names.ts";
import type { Namespace } from "../../kube/resources.ts";

/** Whether pods of a namespace may get sidecars, and whether anything can still be written there. */
export const isOptedIn = ({ metadata, status }: Namespace): boolean =>
  metadata.labels?.[labels.inject] === OPTED_IN &&
  metadata.name !== SYSTEM_NAMESPACE &&
  metadata.deletionTimestamp === undefined &&
  status.phase !== "Terminating";

import { isIPv6 } from "node:net";
import { ports, services, SYSTEM_NAMESPACE } from "../common/names.ts";
import type { Kube } from "../kube/kube.ts";
import { type EndpointSlice, endpointSlices, SERVICE_NAME_LABEL } from "../kube/resources.ts";

/** The pod of this process. */
export interface OwnPod {
  readonly name: string;
  readonly uid: string;
  /** All of `status.podIPs`. */
  readonly ips: readonly string[];
}

const FIELD_MANAGER = "squall-controller";

/**
 * Makes this pod the only one behind the enrolment Service, which has no selector: only the leader can sign, and standbys stay
 * Ready all the same. One EndpointSlice for each address family of the pod. See
 * https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors.
 */
export async function writeEnrolmentEndpoint(kube: Kube, pod: OwnPod, signal?: AbortSignal): Promise<readonly EndpointSlice[]> {
  const written: EndpointSlice[] = [];
  for (const addressType of ["IPv4", "IPv6"] as const) {
    const addresses = pod.ips.filter((ip) => isIPv6(ip) === (addressType === "IPv6")).slice(0, 1);
    if (addresses.length === 0) continue;
    const ref = { namespace: SYSTEM_NAMESPACE, name: addressType === "IPv4" ? services.enrolment : `${services.enrolment}-ipv6` };
    const body = {
      metadata: {
        ...ref,
        labels: { [SERVICE_NAME_LABEL]: services.enrolment, "endpointslice.kubernetes.io/managed-by": FIELD_MANAGER },
      },
      addressType,
      endpoints: [
        {
          addresses,
          conditions: { ready: true },
          targetRef: { kind: "Pod", namespace: SYSTEM_NAMESPACE, name: pod.name, uid: pod.uid },
        },
      ],
      ports: [{ name: "enrolment", port: ports.enrolment, protocol: "TCP" }],
    };
    written.push(await kube.patch(endpointSlices, ref, body, { type: "apply", fieldManager: FIELD_MANAGER, force: true }, signal));
  }
  return written;
}

import { SIDECAR_CONTAINER } from "../../common/names.ts";
import type { ObjectRef } from "../../kube/kube.ts";
import { type Pod, pods } from "../../kube/resources.ts";
import type { FakeKube } from "./fake-kube.ts";

/** What the kubelet does about pods whose images change: it starts those containers anew, and asks the application whether it is ready. */
export class FakeKubelet {
  /** Whether it does its work. */
  isAlive = true;
  readonly #kube: FakeKube;
  readonly #started = new Map<string, ReadonlyMap<string, string>>();
  #starts = 1;

  constructor(kube: FakeKube) {
    this.#kube = kube;
  }

  /** A pod as it began. */
  admit({ metadata, spec }: Pod): void {
    this.#started.set(metadata.uid, imagesOf(spec));
  }

  /** Brings a pod's containers up to date. `isAnswering`: whether a pod with these images passes its probe. */
  visit(ref: ObjectRef, isAnswering: (images: readonly string[]) => boolean): void {
    const stored = this.#kube.peek(pods, ref);
    if (stored === undefined || !this.isAlive) return;
    const pod = pods.parse(stored);
    const before = this.#started.get(pod.metadata.uid);
    const now = imagesOf(pod.spec);
    const changed = [...now].filter(([name, image]) => before?.get(name) !== image).map(([name]) => name);
    if (changed.length === 0) return;
    this.#started.set(pod.metadata.uid, now);
    this.#starts += 1;
    const containerStatuses = pod.status.containerStatuses.map((status) =>
      changed.includes(status.name)
        ? {
            ...status,
            containerID: `containerd://started-${this.#starts}`,
            image: `docker.io/library/${now.get(status.name)}`,
            state: { running: {} },
          }
        : status,
    );
    const isReady = isAnswering([...now.values()]);
    this.#kube.seed(pods, {
      ...stored,
      metadata: Object(stored["metadata"]),
      status: { ...pod.status, containerStatuses, conditions: [{ type: "Ready", status: isReady ? "True" : "False" }] },
    });
  }
}

const imagesOf = ({ containers }: Pod["spec"]): ReadonlyMap<string, string> =>
  new Map(containers.flatMap(({ name, image = "" }) => (name === SIDECAR_CONTAINER ? [] : [[name, image]])));

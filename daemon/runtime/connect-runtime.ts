import { type Container, ContainerState, type PodSandbox } from "../../proto/gen/cri.ts";
import { type ConnectionOptions, RuntimeConnection } from "./connection.ts";
import { type ContainerRuntime, type FoundContainer, RuntimeError } from "./container-runtime.ts";
import { createCri, type Cri, isRunning } from "./cri.ts";
import { checkName, checkPodUid, isSame, kubeletLabels, type Owner, ownerOf, parseContainerId, quote } from "./names.ts";
import { pidIn } from "./verbose-info.ts";

/** Begins to look for the runtime at once and keeps the connection until `close()`. Never throws: `outage` tells what is wrong. */
export function connectRuntime(options: ConnectionOptions): ContainerRuntime {
  const connection = new RuntimeConnection(options);
  connection.start();
  return {
    get outage() {
      return connection.outage;
    },

    async find(target, signal) {
      checkName(target);
      const cri = createCri(connection, signal);
      const labels = { [kubeletLabels.podUid]: target.podUid, [kubeletLabels.container]: target.container };
      return await examineNewest(cri, await cri.listRunning(labels));
    },

    async list(signal) {
      const cri = createCri(connection, signal);
      const found: FoundContainer[] = [];
      for (const container of await cri.listRunning({})) {
        const examined = await examine(cri, container);
        if (examined !== undefined) found.push(examined);
      }
      return found;
    },

    async listWithout(name, signal) {
      const owned = (await createCri(connection, signal).listContainers()).flatMap((container) => {
        const owner = ownerOf(container.labels);
        return owner === undefined ? [] : [{ container, owner }];
      });
      return [...Map.groupBy(owned, ({ owner }) => owner.podUid).values()].flatMap((ofPod) => {
        const newest = newestOf(ofPod.flatMap(({ container, owner }) => (owner.container === name ? [container] : [])));
        const isUp = ofPod.some(({ container }) => isRunning(container));
        const [first] = ofPod;
        if (first === undefined || !isUp || newest?.state !== ContainerState.CONTAINER_EXITED) return [];
        const { podUid, namespace, pod } = first.owner;
        return [{ podUid, namespace, pod }];
      });
    },

    async sandboxPid(podUid, signal) {
      checkPodUid(podUid);
      const cri = createCri(connection, signal);
      const labels = { [kubeletLabels.podUid]: podUid };
      const sandbox = newestOf(await cri.listReadySandboxes(labels));
      if (sandbox === undefined) return undefined;
      const { info } = await cri.readSandboxStatus(sandbox.id);
      const pid = pidIn(info);
      if (pid === "unreadable") throw unreadable(`the sandbox ${sandbox.id} of the pod with UID ${podUid}`, info);
      return pid === "none" ? (await examineNewest(cri, await cri.listRunning(labels)))?.pid : pid;
    },

    async kill(target, signal) {
      checkName(target);
      const id = parseContainerId(target.id, await connection.name());
      return await killExactly(createCri(connection, signal), { ...target, id });
    },

    close: () => connection.close(),
  };
}

async function killExactly(cri: Cri, { id, podUid, container }: Parameters<ContainerRuntime["kill"]>[0]): Promise<"killed" | "gone"> {
  const found = await cri.findContainer(id);
  if (found === undefined) return "gone";
  const owner = ownerOf(found.labels);
  if (owner === undefined || !isSame(owner, { podUid, container })) {
    const meant = `container ${container} of the pod with UID ${podUid}`;
    throw new RuntimeError("wrong-target", `${id} is ${describe(owner)}, not ${meant}. Nothing was killed.`);
  }
  if (!isRunning(found)) return "gone";
  await cri.stopContainer(id);
  const after = await cri.findContainer(id);
  if (after !== undefined && isRunning(after))
    throw new RuntimeError("failed", `The runtime says that it stopped ${id}, ${describe(owner)}, and that it runs.`);
  return "killed";
}

async function examineNewest(cri: Cri, containers: readonly Container[]): Promise<FoundContainer | undefined> {
  const newest = newestOf(containers);
  return newest === undefined ? undefined : await examine(cri, newest);
}

/** Undefined when it has ended since it was listed, and for one that no kubelet made. */
async function examine(cri: Cri, { id, labels }: Container): Promise<FoundContainer | undefined> {
  const owner = ownerOf(labels);
  if (owner === undefined) return undefined;
  const { status, info = {} } = (await cri.readStatus(id)) ?? {};
  if (status === undefined || !isRunning(status)) return undefined;
  const pid = pidIn(info);
  if (typeof pid === "string") throw unreadable(`${id}, ${describe(owner)}`, info);
  return { ...owner, id, pid, startedAtMs: Number(BigInt(status.startedAt) / 1_000_000n) };
}

/** A kubelet numbers the starts of a container. */
function newestOf<T extends Pick<Container | PodSandbox, "metadata">>(these: readonly T[]): T | undefined {
  return these.toSorted((one, other) => (other.metadata?.attempt ?? 0) - (one.metadata?.attempt ?? 0)).at(0);
}

function describe(owner: Owner | undefined): string {
  if (owner === undefined) return "no container of a pod";
  return `container ${owner.container} of pod ${owner.namespace}/${owner.pod} with UID ${owner.podUid}`;
}

function unreadable(what: string, info: Readonly<Record<string, string>>): RuntimeError {
  return new RuntimeError("unreadable", `The runtime tells no pid of ${what}. It says: ${quote(info["info"] ?? "nothing")}.`);
}

import type { Pod } from "../../kube/resources.ts";

/** An image that Chaos Mesh replaced, with the annotation that says so. */
export interface Leftover {
  readonly key: string;
  readonly image: string;
  readonly list: "containers" | "initContainers";
  readonly index: number;
}

/** Chaos Mesh shortens a key that would be longer to one without the name of the experiment. */
const LONGEST_KEY = 63;
const written = /^chaos-mesh-.+-pod-failure-.+-(?:normal|init)-image$/;

/** An experiment as Chaos Mesh knows it. */
export interface Leaver {
  readonly name: string;
  /** Whether Chaos Mesh itself made it: only then are annotations without its name believed to be its. */
  readonly isSure: boolean;
}

/** What a pod-failure of Chaos Mesh by this name left in a pod. */
export function leftoversOf({ metadata, spec }: Pod, { name: of, isSure }: Leaver): readonly Leftover[] {
  const found = metadata.annotations ?? {};
  const look = (list: Leftover["list"], role: "normal" | "init"): readonly Leftover[] =>
    spec[list].flatMap(({ name }, index) => {
      const long = `chaos-mesh-${of}-pod-failure-${name}-${role}-image`;
      const key = long.length > LONGEST_KEY ? `${name}-${role}` : long;
      const image = Object.hasOwn(found, key) && (key === long || isSure) ? found[key] : undefined;
      return image === undefined ? [] : [{ key, image, list, index }];
    });
  return [...look("containers", "normal"), ...look("initContainers", "init")];
}

/** Whether the images of a pod may be Chaos Mesh's, whichever experiment it was. */
export function hasLeftovers({ metadata, spec }: Pod): boolean {
  const short = new Set([...spec.containers.map(({ name }) => `${name}-normal`), ...spec.initContainers.map(({ name }) => `${name}-init`)]);
  return Object.keys(metadata.annotations ?? {}).some((key) => written.test(key) || short.has(key));
}

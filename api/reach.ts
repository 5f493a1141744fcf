import { groups } from "../common/names.ts";
import { isJsonObject } from "./json.ts";
import type { SoundPart, SoundSpec } from "./kinds/define-kind.ts";
import type { Touch } from "./kinds/definition.ts";
import { isKindName, type KindName, kinds } from "./kinds/registry.ts";
import { show } from "./text.ts";

/** One thing that an author must be allowed to do, as RBAC knows it. */
export interface Right {
  readonly verb: "create" | "get" | "use";
  /** "" for the core group. */
  readonly group: string;
  /** As in the URL: "networkchaos". */
  readonly resource: string;
  readonly isNamespaced: boolean;
  /** Undefined for a resource without namespaces; for one with, undefined means all of them. */
  readonly namespace: string | undefined;
  /** One object alone; any where it is absent. */
  readonly name?: string | undefined;
  /** Where the object asks for it: `spec.target.selector.namespaces[0]`. */
  readonly path: string;
}

/** Path of the right to create the object itself, which whoever creates it was just found to have. */
export const OWN_PATH = "metadata.namespace";

/**
 * All that an object reaches: its author must be allowed to create its kind in every namespace that it touches, its own included; so with
 * every kind that is embedded in it, to any depth, as if it stood there by itself. Each right once, with the first place that asks for it.
 *
 * | the object                                | the author needs                                       |
 * | ----------------------------------------- | ------------------------------------------------------ |
 * | lives in a namespace                      | create its kind there, unless only the controller may  |
 * | selects pods or machines of a namespace   | create its kind there                                  |
 * | selects them in no namespace              | create its kind in all namespaces                      |
 * | embeds a spec of another kind             | what that one would need in this namespace             |
 * | has a Task                                | create pods in its namespace                           |
 * | names a Secret                            | get that Secret                                        |
 * | names a RemoteCluster                     | use that RemoteCluster                                 |
 */
export function reachOf(kind: KindName, judged: SoundSpec<unknown>, around: { readonly namespace: string }): readonly Right[] {
  return unique(rightsOf(kind, judged, around));
}

/** The same of an object that nobody has judged yet. Throws on one that its kind refuses. */
export function reachOfObject(kind: KindName, raw: unknown, around: { readonly namespace: string }): readonly Right[] {
  const judged = kinds[kind].judge(raw, around);
  if (!judged.ok) throw new Error(`What a ${kind} reaches was asked before it was found right.`);
  return reachOf(kind, judged, around);
}

function rightsOf(kind: KindName, judged: SoundSpec<unknown>, around: { readonly namespace: string }): readonly Right[] {
  const { group, plural: resource, madeBy, scope } = kinds[kind];
  const create = { verb: "create", group, resource, isNamespaced: scope === "Namespaced" } as const;
  const own = create.isNamespaced ? around.namespace : undefined;
  const { remoteCluster } = isJsonObject(judged.spec) ? judged.spec : {};
  return [
    ...(madeBy === "anyone" ? [{ ...create, namespace: own, path: OWN_PATH }] : []),
    ...judged.touches.map((touch) => rightFor(touch, create, around.namespace)),
    ...(typeof remoteCluster === "string" && remoteCluster !== "" ? [useOf(remoteCluster)] : []),
    ...judged.embedded.flatMap((part) => rightsOfPart(part, around)),
  ];
}

function rightFor(touch: Touch, create: Omit<Right, "namespace" | "name" | "path">, own: string): Right {
  const { path } = touch;
  switch (touch.on) {
    case "namespace":
      return { ...create, namespace: touch.namespace, path };
    case "cluster":
      return { ...create, namespace: undefined, path };
    case "secret":
      return { verb: "get", group: "", resource: "secrets", isNamespaced: true, namespace: touch.namespace ?? own, name: touch.name, path };
    case "new pods":
      return { verb: "create", group: "", resource: "pods", isNamespaced: true, namespace: own, path };
  }
}

/** Whoever may use one acts in that cluster with the credentials kept for it. */
const useOf = (name: string): Right => ({
  verb: "use",
  group: groups.chaos,
  resource: "remoteclusters",
  isNamespaced: false,
  namespace: undefined,
  name,
  path: "spec.remoteCluster",
});

function rightsOfPart({ kind, judged, path: root }: SoundPart, around: { readonly namespace: string }): readonly Right[] {
  if (!isKindName(kind)) throw new Error(`${root} embeds a ${kind}, which is no kind.`);
  return rightsOf(kind, judged, around).map((right) => ({
    ...right,
    path: right.path.startsWith("spec") ? `${root}${right.path.slice("spec".length)}` : root,
  }));
}

function unique(rights: readonly Right[]): readonly Right[] {
  const known = new Map<string, Right>();
  for (const right of rights) {
    const key = keyOfRight(right);
    if (!known.has(key)) known.set(key, right);
  }
  return [...known.values()];
}

/** Equal for rights that differ in their path alone. */
export const keyOfRight = ({ verb, group, resource, namespace = "", name = "" }: Right): string =>
  [verb, group, resource, namespace, name].join(" ");

/** "create networkchaos.chaos-mesh.org in namespace shop", for people. */
export function describeRight(right: Right): string {
  const { verb, name, namespace, isNamespaced } = right;
  const what = `${verb} ${resourceName(right)}${name === undefined ? "" : ` ${word(name)}`}`;
  if (namespace !== undefined) return `${what} in namespace ${word(namespace)}`;
  return isNamespaced ? `${what} in all namespaces` : what;
}

/** " Try: kubectl auth can-i …", with which people ask whether they, or others, have the right; nothing where a name is none that a shell should see. */
export function suggestQuestion(right: Right, as?: string): string {
  const { verb, name, namespace, isNamespaced } = right;
  const parameters = [
    ...(namespace !== undefined ? ["-n", namespace] : isNamespaced ? ["--all-namespaces"] : []),
    ...(as === undefined ? [] : [`--as=${as}`]),
  ];
  const argv = [verb, name === undefined ? resourceName(right) : `${resourceName(right)}/${name}`, ...parameters];
  return argv.every((text) => PLAIN.test(text)) ? ` Try: kubectl auth can-i ${argv.join(" ")}` : "";
}

const resourceName = ({ group, resource }: Right): string => (group === "" ? resource : `${resource}.${group}`);

const PLAIN = /^[A-Za-z0-9._:@=/-]{1,300}$/;
const word = (text: string): string => (PLAIN.test(text) ? text : show(text));

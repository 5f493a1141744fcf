import { renderAuthor } from "../api/author.ts";
import { isJsonObject, type JsonObject } from "../api/json.ts";
import { annotations } from "../common/names.ts";
import type { AdmissionRequest } from "./admission-review.ts";

/**
 * What the annotation `squall.dev/author` has to say after a request; undefined for nothing.
 *
 * | request                              | from anybody              | from the controller       |
 * | ------------------------------------ | ------------------------- | ------------------------- |
 * | CREATE                               | whoever sent it           | as sent: the parent's     |
 * | UPDATE that changes the spec         | whoever sent it           | as it was                 |
 * | any other UPDATE                     | as it was, or none        | as it was, or none        |
 */
export function planAuthor(
  { operation, userInfo, object, oldObject }: AdmissionRequest,
  { isNew, controllerAccount }: { readonly isNew: boolean; readonly controllerAccount: string },
): string | undefined {
  const isController = userInfo?.username === controllerAccount;
  if (operation === "CREATE" && isController) return readAuthor(object ?? {});
  if (isNew && !isController) return userInfo && renderAuthor(userInfo);
  return readAuthor(oldObject ?? {});
}

export function readAuthor({ metadata }: JsonObject): string | undefined {
  const all = isJsonObject(metadata) && isJsonObject(metadata["annotations"]) ? metadata["annotations"] : {};
  const found = all[annotations.author];
  return typeof found === "string" ? found : undefined;
}

/** The object with this annotation, or without any. */
export function withAuthor(object: JsonObject, author: string | undefined): JsonObject {
  if (readAuthor(object) === author) return object;
  const metadata = isJsonObject(object["metadata"]) ? object["metadata"] : {};
  const { [annotations.author]: _, ...others } = isJsonObject(metadata["annotations"]) ? metadata["annotations"] : {};
  return { ...object, metadata: { ...metadata, annotations: author === undefined ? others : { ...others, [annotations.author]: author } } };
}

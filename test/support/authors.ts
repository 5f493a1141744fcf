import { renderAuthor } from "../../api/author.ts";
import { annotations } from "../../common/names.ts";

/** What the webhook writes on objects of the lab's administrator, for clusters of tests that have none. */
export const authoredByAdmin = {
  [annotations.author]: renderAuthor({ username: "admin", groups: ["system:masters", "system:authenticated"], extra: {} }),
} as const;

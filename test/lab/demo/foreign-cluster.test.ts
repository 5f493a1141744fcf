import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { DEMO_LABEL, explainContext, explainImages, explainNamespace } from "../../../lab/demo/foreign-cluster.ts";

describe("explainImages", () => {
  it("asks for both images, and says how to get them where the cluster can pull them", () => {
    const [text = ""] = explainImages({ squall: undefined, shop: undefined });
    assert.match(text, /^--image and --shop-image not given\./);
    for (const line of [
      "npm run bundle",
      "docker build -f Containerfile",
      "docker build -f lab/shop/Containerfile",
      "kind load docker-image",
    ])
      assert.ok(text.includes(line), line);
  });

  it("names the one that is missing, and nothing where none is", () => {
    assert.match(explainImages({ squall: "r/squall:1", shop: undefined })[0] ?? "", /^--shop-image not given\./);
    assert.deepEqual(explainImages({ squall: "r/squall:1", shop: "r/shop:1" }), []);
  });
});

describe("explainContext", () => {
  it("says which contexts there are", () => {
    assert.equal(
      explainContext("kind", ["kind-a", "prod"]),
      '--context: your kubeconfig has no context "kind". It has: kind-a, prod. KUBECONFIG names another file.',
    );
    assert.match(explainContext("kind", []) ?? "", /It has none\./);
    assert.equal(explainContext("prod", ["kind-a", "prod"]), undefined);
  });
});

describe("explainNamespace", () => {
  const namespace = (labels?: Readonly<Record<string, string>>): string => JSON.stringify({ metadata: { name: "shop", labels } });

  it("leaves a namespace alone that the demo did not make", () => {
    for (const foreign of [namespace(), namespace({ team: "checkout" }), namespace({ [DEMO_LABEL]: "false" })])
      assert.match(explainNamespace(foreign)[0] ?? "", /not the demo's.*kubectl label namespace shop squall\.dev\/demo=true/);
  });

  it("takes the one that it made, and makes one where there is none", () => {
    assert.deepEqual(explainNamespace(""), []);
    const [made] = parseAllDocuments(readFileSync(join(import.meta.dirname, "../../../lab/demo/shop.yaml"), "utf8"));
    assert.deepEqual(explainNamespace(JSON.stringify(made?.toJS())), []);
  });
});

import assert from "node:assert/strict";
import { Environment } from "@marcbachmann/cel-js";
import * as z from "zod";
import { planCrd } from "../../api/crd.ts";
import { planStructuralSchema } from "../../api/crd-schema.ts";
import { kinds, schemaOf } from "../../api/kinds/registry.ts";

/** Nothing is embedded. */
const none = () => assert.fail("no schema of another kind was needed");

describe("planStructuralSchema", () => {
  it("refuses what a CRD cannot hold, with the place", () => {
    assert.throws(
      () => planStructuralSchema(z.object({ a: z.union([z.string(), z.number()]) }), none),
      /spec\.a: anyOf cannot stand in a CRD/,
    );
  });

  it("keeps limits of integers and leaves out those that only JavaScript has", () => {
    assert.deepEqual(
      planStructuralSchema(
        z.object({
          a: z.number().int().min(1),
          b: z
            .number()
            .int()
            .min(0)
            .max(2 ** 31 - 1),
        }),
        none,
      ),
      {
        type: "object",
        properties: {
          a: { type: "integer", format: "int64", minimum: 1 },
          b: { type: "integer", format: "int32", minimum: 0, maximum: 2 ** 31 - 1 },
        },
        required: ["a", "b"],
      },
    );
  });
});

interface Rule {
  readonly rule: string;
  readonly message: string;
}

/** The rules of a schema node, as the API server would run them. */
function broken(node: unknown, self: object): readonly string[] {
  const rules = (node as { readonly "x-kubernetes-validations"?: readonly Rule[] })["x-kubernetes-validations"] ?? [];
  // `int`s of JSON are CEL's; everything that our rules compare is text or size().
  const environment = new Environment({ unlistedVariablesAreDyn: true });
  return rules.filter(({ rule }) => environment.evaluate(rule, { self }) !== true).map(({ message }) => message);
}

function specSchemaOf(crd: unknown): { readonly properties: Readonly<Record<string, unknown>> } {
  const { spec } = crd as {
    readonly spec: {
      readonly versions: readonly [{ readonly schema: { readonly openAPIV3Schema: { readonly properties: { readonly spec: unknown } } } }];
    };
  };
  return spec.versions[0].schema.openAPIV3Schema.properties.spec as { readonly properties: Readonly<Record<string, unknown>> };
}

describe("the CEL rules of the CRDs", () => {
  const network = specSchemaOf(planCrd(kinds.NetworkChaos, schemaOf));
  const pod = specSchemaOf(planCrd(kinds.PodChaos, schemaOf));
  const rows: readonly (readonly [spec: object, complaints: number])[] = [
    [{ action: "partition", mode: "all" }, 0],
    [{ action: "partition", mode: "fixed", value: "2" }, 0],
    [{ action: "partition", mode: "fixed", value: "+02" }, 0],
    [{ action: "partition", mode: "fixed", value: "0" }, 1],
    [{ action: "partition", mode: "fixed" }, 1],
    [{ action: "partition", mode: "fixed-percent", value: "100" }, 0],
    [{ action: "partition", mode: "fixed-percent", value: "101" }, 1],
    [{ action: "partition", mode: "random-max-percent", value: "5%" }, 1],
    [{ action: "loss", mode: "all", direction: "from" }, 1],
    [{ action: "loss", mode: "all", direction: "from", target: { mode: "all" } }, 0],
    [{ action: "loss", mode: "all", direction: "both", target: { mode: "all" }, externalTargets: ["1.1.1.1"] }, 1],
    [{ action: "partition", mode: "all", direction: "from", externalTargets: ["1.1.1.1"] }, 0],
  ];
  for (const [spec, complaints] of rows) {
    it(`find ${complaints} in ${JSON.stringify(spec)}`, () => assert.equal(broken(network, spec).length, complaints));
  }

  it("hold for the target, too, and for the containers of container-kill", () => {
    assert.equal(broken(network, { action: "partition", mode: "all", target: { mode: "fixed" } }).length, 1);
    assert.equal(broken(pod, { action: "container-kill", mode: "all" }).length, 1);
    assert.equal(broken(pod, { action: "container-kill", mode: "all", containerNames: ["app"] }).length, 0);
  });

  it("agree with the checks in the process about every mode and value", () => {
    for (const mode of ["one", "all", "fixed", "fixed-percent", "random-max-percent"]) {
      for (const value of [undefined, "", "0", "1", "01", "-1", "+7", "99", "100", "101", "1.5", "5%", " 1", "1000000"]) {
        const spec = { action: "partition", mode, ...(value === undefined ? {} : { value }) };
        const judged = kinds.NetworkChaos.judge({ metadata: {}, spec }, { namespace: "shop" });
        assert.equal(broken(network, spec).length === 0, judged.ok, JSON.stringify(spec));
      }
    }
  });
});

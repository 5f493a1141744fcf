import assert from "node:assert/strict";
import { describeReceipts } from "../../../lab/demo/figures.ts";

describe("describeReceipts", () => {
  it("shows what each target counted", () => {
    const lines = 'shop/web-0  Not Injected  {"delayed":0,"dropped":50,"firstTime":"2026-11-25T12:00:00Z"}\nshop/web-1  Not Injected  \n';
    assert.equal(
      describeReceipts(lines),
      "shop/web-0  Not Injected  delayed 0, dropped 50, firstTime 2026-11-25T12:00:00Z\nshop/web-1  Not Injected  \n",
    );
  });
});

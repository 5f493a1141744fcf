import Mocha, { type Runner } from "mocha";

/** Mocha's dots for a short suite or its tree for a long one, and last the plain line `N passed, N failed` that any CI can read. */
export default class PlainReporter {
  constructor(runner: Runner, options: Mocha.MochaOptions) {
    const Inner = process.env["SQUALL_TEST_TREE"] ? Mocha.reporters.Spec : Mocha.reporters.Dot;
    const inner = new Inner(runner, options);
    runner.once("end", () => {
      const { passes, failures, pending } = inner.stats;
      process.stdout.write(`${passes} passed, ${failures} failed${pending > 0 ? `, ${pending} skipped` : ""}\n`);
    });
  }
}

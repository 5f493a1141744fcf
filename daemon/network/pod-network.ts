import { writeFileSync } from "node:fs";
import { NotTakenBackError } from "../../agent/carrier.ts";
import { createExecutor } from "../../agent/executor.ts";
import { openJournal } from "../../agent/journal.ts";
import { recoverLeftovers } from "../../agent/leftovers.ts";
import { createNetworkFamily } from "../../agent/network/driver.ts";
import { watchDnsAnswers } from "../../agent/network/dns-watch.ts";
import { startEngine } from "../../agent/network/engine/engine.ts";
import { passportOf, readPodFacts } from "../../agent/network/facts.ts";
import { createLookup } from "../../agent/network/host-names.ts";
import { sweepNetwork } from "../../agent/network/sweep.ts";
import { createPlannedCarrier } from "../../agent/planned-carrier.ts";
import type { Carrier } from "../../agent/carrier.ts";
import { findPrograms } from "../../agent/programs.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import type { Answer, Converged, Order, TimedFault, ToChild, ToParent } from "./messages.ts";

/** The parent's end of a channel; `process` is one. */
export interface Channel {
  send(message: ToParent): void;
  onOrder(callback: (message: ToChild) => void): void;
  /** The parent closed it, or is no more. */
  onClosed(callback: () => void): void;
}

/**
 * Carries out network faults of the network namespace that this process is in, as the daemon orders. Once the channel is closed, for whatever
 * reason, everything is taken back; resolves then.
 */
export function servePodNetwork(channel: Channel, { clock, log }: { readonly clock: Clock; readonly log: Log }): Promise<void> {
  goFirst(log);
  const programs = findPrograms();
  const ended = Promise.withResolvers<void>();
  let carrier: Carrier | undefined;
  let inForce: readonly string[] = [];
  let work: Promise<unknown> = Promise.resolve();

  async function start({ journal: path, known, resolvConf }: Extract<Order, { do: "start" }>): Promise<void> {
    const journal = await openJournal(path);
    await recoverLeftovers({ journal, programs, sweep: () => sweepNetwork(programs), log });
    const facts = await readPodFacts(programs, known);
    const family = createNetworkFamily({
      facts,
      programs,
      log,
      clock,
      startEngine,
      lookup: createLookup(resolvConf),
      watchDns: watchDnsAnswers,
    });
    carrier = createPlannedCarrier({ family, executor: createExecutor({ family, programs, log, journal }), log });
    carrier.onChange(() => channel.send({ is: "changed" }));
    log.info({ passport: passportOf(facts) }, "the network of a pod was joined");
  }

  async function converge(faults: readonly TimedFault[]): Promise<Converged> {
    const joined = started(carrier);
    const endOf = new Map(faults.map(({ fault, untilMs }) => [fault, untilMs]));
    const wanted = faults.map(({ fault }) => fault);
    await joined.prepare(wanted);
    const refusals = await joined.converge(wanted, {
      remainingMs: (fault) => (endOf.get(fault) ?? 0) - clock.monotonicMs(),
      // What the kernel counted is gone with its rules: it is added to the counts that are kept here.
      beforeReplacing: async () => void (await joined.readReceipts(inForce)),
    });
    inForce = wanted.map(({ id }) => id);
    return { refusals, resolved: wanted.map((fault) => [fault.id, joined.resolvedOf(fault)] as const) };
  }

  async function obey(order: Order): Promise<Answer> {
    switch (order.do) {
      case "start":
        await start(order);
        return { is: "done" };
      case "sweep":
        await sweepNetwork(programs);
        return { is: "done" };
      case "converge":
        return { is: "converged", converged: await converge(order.faults) };
      case "read-receipts":
        return { is: "receipts", receipts: [...(await started(carrier).readReceipts(inForce))] };
    }
  }

  /** One after the other, the end included. */
  function queue<R>(act: () => Promise<R>): Promise<R> {
    const next = work.then(act);
    work = next.catch(() => undefined);
    return next;
  }

  channel.onOrder(({ number, order }) => {
    queue(() => obey(order)).then(
      (answer) => channel.send({ number, answer }),
      (error: unknown) => channel.send({ number, answer: describeFailure(error) }),
    );
  });
  channel.onClosed(() => {
    queue(async () => {
      if (carrier === undefined) return;
      await carrier.converge([], { remainingMs: () => 0, beforeReplacing: () => Promise.resolve() });
      await carrier.close();
    })
      .catch((error: unknown) => log.error({ err: error }, "network faults could not be taken back; the daemon's next life does it"))
      .finally(() => ended.resolve());
  });
  return ended.promise;
}

function started(carrier: Carrier | undefined): Carrier {
  if (carrier === undefined) throw new Error("The first order was not to start.");
  return carrier;
}

const describeFailure = (error: unknown): Answer => ({
  is: "failed",
  isTakenBack: !(error instanceof NotTakenBackError),
  message: error instanceof Error ? error.message : String(error),
});

/** Where memory is short, this process goes and not the daemon: what it leaves ends by the kernel's clock. */
function goFirst(log: Log): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", "1000");
  } catch (error) {
    log.warn({ err: error }, "this process may outlive the daemon where memory is short");
  }
}

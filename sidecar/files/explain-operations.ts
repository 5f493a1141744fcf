import type { ExplainedOperations } from "../../api/pod-explanation.ts";
import { type IoFault, IoMistake_Filling } from "../../proto/gen/faults.ts";

/** What a fault of files comes to, in words. */
export function explainOperations(experiment: string, fault: IoFault): ExplainedOperations {
  return {
    experiment,
    volume: fault.subPath === "" ? fault.volume : `${fault.volume}/${fault.subPath}`,
    files: fault.path === "" ? `${fault.mountPath.replace(/\/$/, "")}/**` : fault.path,
    methods: fault.methods.length === 0 ? "all" : fault.methods.join(", "),
    effect: `${explainEffect(fault.effect)}${fault.percent < 100 ? `, ${fault.percent} % of them` : ""}`,
  };
}

function explainEffect(effect: IoFault["effect"]): string {
  switch (effect?.$case) {
    case undefined:
      return "nothing";
    case "latency":
      return `delayed by ${effect.value.delayUs / 1000} ms`;
    case "error":
      return `answered with errno ${effect.value.errno}`;
    case "attributes": {
      const names = Object.entries(effect.value).flatMap(([name, value]) => (value === undefined ? [] : [name]));
      return `told a false ${names.join(", ")}`;
    }
    case "mistake": {
      const { filling, maxOccurrences, maxLength } = effect.value;
      const what = filling === IoMistake_Filling.RANDOM ? "random bytes" : "zeros";
      return `given ${what} at up to ${maxOccurrences} places of up to ${maxLength} bytes`;
    }
  }
}

import type { FunctionRegistry } from "../core/function-registry.ts";
import type { LogSink } from "../log.ts";

const RUN_HERE = ["httptrigger", "timertrigger", "orchestrationtrigger", "activitytrigger", "entitytrigger"];

/** A person should not wait for what this host does not have. */
export function warnOfWhatIsNotRun(
  registry: FunctionRegistry,
  settings: Readonly<Record<string, string>>,
  log: LogSink,
): void {
  const warn = (message: string): void => {
    log({ level: "warning", category: "host", message });
  };
  for (const { metadata, triggerType } of registry.functions.values()) {
    if (!RUN_HERE.includes(triggerType))
      warn(`Function '${metadata.name}' is not run: this host has no ${triggerType}.`);
    else if (isDisabled(metadata.name, settings))
      warn(`Function '${metadata.name}' is disabled by a setting.`);
    const outputs = Object.values(metadata.bindings).filter(
      ({ type, direction }) => direction === "out" && type.toLowerCase() !== "http",
    );
    for (const { type } of outputs)
      warn(`What function '${metadata.name}' gives to its ${type} output is dropped: this host has none.`);
  }
}

/** As in Azure: the setting `AzureWebJobs.NAME.Disabled`. */
export function isDisabled(functionName: string, settings: Readonly<Record<string, string>>): boolean {
  return /^(true|1)$/i.test(settings[`AzureWebJobs.${functionName}.Disabled`] ?? "");
}

import * as z from "zod";
import { BackupError } from "../../errors/index.ts";
import { resolveSettings } from "../app/settings.ts";
import { isDisabled } from "../app/startup-checks.ts";
import type { FunctionRegistry, RegisteredFunction } from "../core/function-registry.ts";
import type { AuthLevel } from "./keys.ts";
import { parseRoute, type Route } from "./router.ts";

const HttpBinding = z.object({
  route: z.string().optional(),
  methods: z.array(z.string()).default(["GET", "POST"]),
  authLevel: z.enum(["anonymous", "function", "admin"]).default("anonymous"),
});

export interface HttpTarget {
  readonly fn: RegisteredFunction;
  readonly level: AuthLevel;
}

/** One function of the app, for people. */
export interface FunctionListing {
  readonly name: string;
  /** Such as `httpTrigger`. */
  readonly trigger: string;
  /** For HTTP triggers. */
  readonly methods?: readonly string[];
  readonly url?: string;
  readonly authLevel?: string;
}

/**
 * The routes of the app's HTTP functions that no setting disables.
 * @throws BackupError HOST_APP_INVALID when a template can't be read
 */
export function httpRoutes(
  registry: FunctionRegistry,
  prefix: string,
  settings: Readonly<Record<string, string>>,
): Route<HttpTarget>[] {
  const enabled = registry
    .ofType("httptrigger")
    .filter(({ metadata }) => !isDisabled(metadata.name, settings));
  return enabled.map((fn) => {
    const { name } = fn.metadata;
    const binding = HttpBinding.parse(fn.metadata.bindings[fn.triggerName]);
    const route = resolveSettings(binding.route ?? name, settings, `HTTP function "${name}"`).replace(
      /^\/+/,
      "",
    );
    const template = prefix === "" ? route : `${prefix.replace(/^\/+|\/+$/g, "")}/${route}`;
    try {
      return parseRoute(template, binding.methods, { fn, level: binding.authLevel });
    } catch (error) {
      throw new BackupError(
        "HOST_APP_INVALID",
        `Function "${name}": ${String(error instanceof Error ? error.message : error)}; correct its route.`,
        { cause: error },
      );
    }
  });
}

export function listFunctions(
  registry: FunctionRegistry,
  routes: readonly Route<HttpTarget>[],
  origin: string,
): FunctionListing[] {
  return [...registry.functions.values()].map(({ metadata, triggerName }) => {
    const trigger = metadata.bindings[triggerName]?.type ?? "";
    const route = routes.find(({ target }) => target.fn.metadata.name === metadata.name);
    if (route === undefined) return { name: metadata.name, trigger };
    return {
      name: metadata.name,
      trigger,
      methods: route.methods,
      url: `${origin}/${route.template}`,
      authLevel: route.target.level,
    };
  });
}

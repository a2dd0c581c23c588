/** The URL templates and names that the `durableClient` input carries to the app. */
export interface ClientBinding {
  readonly taskHubName: string;
  readonly creationUrls: Readonly<Record<string, string>>;
  readonly managementUrls: Readonly<Record<string, string>>;
  readonly baseUrl: string;
  readonly requiredQueryStringParameters: string;
  readonly rpcBaseUrl: string;
}

export interface BindingOptions {
  /** Such as `http://127.0.0.1:7071`, without a slash at the end. */
  readonly origin: string;
  readonly hubName: string;
  /** The system key for the management API, or undefined when keys are off. */
  readonly key: string | undefined;
  /** Where the app's own client sends its calls; carries a secret path instead of a key. */
  readonly rpcBaseUrl: string;
}

/** The management API's path (the webhook of the Durable extension). */
export const WEBHOOK_PATH = "/runtime/webhooks/durabletask";
const ID_PLACEHOLDER = "INSTANCEID";

export function clientBinding({ origin, hubName, key, rpcBaseUrl }: BindingOptions): ClientBinding {
  const base = `${origin}${WEBHOOK_PATH}`;
  const required = `taskHub=${hubName}&connection=Storage${key === undefined ? "" : `&code=${encodeURIComponent(key)}`}`;
  const instance = `${base}/instances/${ID_PLACEHOLDER}`;
  const create = `${base}/orchestrators/{functionName}[/{instanceId}]?`;
  return {
    taskHubName: hubName,
    creationUrls: {
      createNewInstancePostUri: `${create}${required}`,
      createAndWaitOnNewInstancePostUri: `${create}timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}&${required}`,
    },
    managementUrls: managementUrls(instance, ID_PLACEHOLDER, required),
    baseUrl: base,
    requiredQueryStringParameters: required,
    rpcBaseUrl,
  };
}

/** The links that a client gets for one instance. */
export function managementUrls(instance: string, id: string, required: string): Record<string, string> {
  return {
    id,
    statusQueryGetUri: `${instance}?${required}`,
    sendEventPostUri: `${instance}/raiseEvent/{eventName}?${required}`,
    terminatePostUri: `${instance}/terminate?reason={text}&${required}`,
    rewindPostUri: `${instance}/rewind?reason={text}&${required}`,
    purgeHistoryDeleteUri: `${instance}?${required}`,
    restartPostUri: `${instance}/restart?${required}`,
    suspendPostUri: `${instance}/suspend?reason={text}&${required}`,
    resumePostUri: `${instance}/resume?reason={text}&${required}`,
  };
}

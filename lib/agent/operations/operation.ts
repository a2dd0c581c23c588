import type {
  GuestClusterId,
  OperationInput,
  OperationKind,
  OperationProgress,
  OperationResult,
  RunId,
} from "../../contracts/index.ts";
import type { HyperVHost } from "../hyperv-host.ts";
import type { RunFacts } from "../journal/run-facts.ts";
import type { AgentLog } from "../log.ts";
import type { RepositoryPort } from "../repository-port.ts";
import type { StaticDiskPort } from "../static-disk.ts";

/** Everything outside that the operations use; tests give their own. */
export interface AgentPorts {
  readonly host: HyperVHost;
  readonly staticDisks: StaticDiskPort;
  readonly repository: RepositoryPort;
  readonly clock: () => Date;
  /** Waits, or rejects when the signal is aborted. */
  readonly pause: (delayMs: number, signal: AbortSignal) => Promise<void>;
  readonly log: AgentLog;
}

export interface AgentLimits {
  /** Disks that are read and shipped at once. Each costs up to one pack in memory. */
  readonly parallelDisks: number;
  /** How long `update-references` waits until the host shows the merged chain. */
  readonly mergeWaitMs: number;
}

/** What a handler works with. A handler may be cut off at any await and is then started again from its beginning. */
export interface OperationContext extends AgentPorts {
  readonly runId: RunId;
  readonly clusterId: GuestClusterId;
  readonly facts: RunFacts;
  readonly limits: AgentLimits;
  /** Folder of this run in the data directory; made when first used, removed when the run has ended. */
  readonly runDirectory: string;
  /** Aborted when the run is undone or the agent stops. */
  readonly signal: AbortSignal;
  /** Runs of this agent that have not ended, without this one, and the members they work on. */
  readonly otherRuns: () => readonly { readonly runId: RunId; readonly members: readonly string[] }[];
  readonly reportProgress: (progress: OperationProgress) => void;
  /** URL of the repository as the control plane last gave it: a secret, kept in memory only, renewed while the work goes on. */
  readonly repositoryUrl: () => string;
}

export type Handler<K extends OperationKind> = (
  input: OperationInput<K>,
  context: OperationContext,
) => Promise<OperationResult<K>>;

export type Handlers = { readonly [K in OperationKind]: Handler<K> };

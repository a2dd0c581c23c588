import type { AgentClient } from "../../lib/agent/client/index.ts";
import type { AgentId, GuestCluster } from "../../lib/contracts/index.ts";
import type { Repository } from "../../lib/repository/index.ts";
import type { GuestClusterClaims } from "./guest-cluster-claims.ts";

/** Everything outside that the activities and HTTP functions use. */
export interface Ports {
  readonly guestClusters: readonly GuestCluster[];
  readonly claims: GuestClusterClaims;
  repository(): Promise<Repository>;
  agent(agentId: AgentId): AgentClient;
  /** URL of the repository for one agent: may create and read, may neither delete nor overwrite, ends by itself. A secret. */
  agentRepositoryUrl(): Promise<string>;
}

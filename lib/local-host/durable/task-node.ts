import { ActionType, type Action } from "./actions.ts";
import type { Failure } from "./events.ts";

type State = "running" | "completed" | "failed";

export interface TaskNode {
  readonly action: Action;
  readonly children: TaskNode[];
  state: State;
  parent: TaskNode | undefined;
  /** Children that have not completed; kept for compounds only. */
  readonly unfinished: Set<TaskNode>;
  /** The task id of an atomic task (for a compound that re-arms: of its newest part). */
  id: number | undefined;
  role: "atomic" | "compound" | "retry" | "poll" | "timer";
  attempt: number;
  isBackingOff: boolean;
  firstTriedAt: number;
  lastFailure: Failure | undefined;
}

export function rootOf(node: TaskNode): TaskNode {
  return node.parent === undefined ? node : rootOf(node.parent);
}

/** A Task.any completes with a task that failed, so the parts count too. */
export function hasFailed(node: TaskNode): boolean {
  return node.state === "failed" || node.children.some(hasFailed);
}

export function isComposite(action: Action): action is Extract<Action, { actionType: 11 | 12 }> {
  return action.actionType === ActionType.WhenAll || action.actionType === ActionType.WhenAny;
}

export function isEntityRequest(action: Action): boolean {
  return action.actionType === ActionType.CallEntity || action.actionType === ActionType.LockEntities;
}

export function isTimer(node: TaskNode): boolean {
  return node.action.actionType === ActionType.CreateTimer;
}

export function isCancelled(node: TaskNode): boolean {
  return node.action.actionType === ActionType.CreateTimer && node.action.isCanceled;
}

export function blocksCompletion(node: TaskNode): boolean {
  return !isEntityRequest(node.action) && !isCancelled(node);
}

function roleOf(action: Action): TaskNode["role"] {
  switch (action.actionType) {
    case ActionType.WhenAll:
    case ActionType.WhenAny:
      return "compound";
    case ActionType.CallActivityWithRetry:
    case ActionType.CallSubOrchestratorWithRetry:
      return "retry";
    case ActionType.CallHttp:
      return action.httpRequest.asynchronousPatternEnabled ? "poll" : "atomic";
    case ActionType.CreateTimer:
      return "timer";
    case ActionType.CallActivity:
    case ActionType.CallSubOrchestrator:
    case ActionType.ContinueAsNew:
    case ActionType.WaitForExternalEvent:
    case ActionType.CallEntity:
    case ActionType.SignalEntity:
    case ActionType.ScheduledSignalEntity:
    case ActionType.LockEntities:
    case ActionType.ReleaseEntities:
      return "atomic";
  }
}

export function completionsToGo(node: TaskNode): number {
  if (node.state !== "running") return 0;
  if (!isComposite(node.action)) return 1;
  const open = node.children.map(completionsToGo);
  if (node.action.actionType === ActionType.WhenAll) return open.reduce((sum, count) => sum + count, 0);
  return Math.min(...open.map((count) => Math.max(count, 1)));
}

/** Whether some leaf under a running task can still complete. */
export function canFinish(node: TaskNode): boolean {
  if (!isComposite(node.action)) return node.state === "running";
  return node.children.some(canFinish);
}

/** A task that is not open yet; its children belong to it from now on, whatever they belonged to before. */
export function newTaskNode(action: Action, children: TaskNode[], nowMs: number): TaskNode {
  const node: TaskNode = {
    action,
    children,
    state: "running",
    parent: undefined,
    unfinished: new Set(children.filter((child) => child.state !== "completed")),
    id: undefined,
    role: roleOf(action),
    attempt: 1,
    isBackingOff: false,
    firstTriedAt: nowMs,
    lastFailure: undefined,
  };
  for (const child of children) child.parent = node;
  return node;
}

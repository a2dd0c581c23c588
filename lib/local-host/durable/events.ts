/** Numbers of the history events, as durable-functions knows them (HistoryEventType). */
export const EventType = {
  ExecutionStarted: 0,
  ExecutionCompleted: 1,
  ExecutionFailed: 2,
  ExecutionTerminated: 3,
  TaskScheduled: 4,
  TaskCompleted: 5,
  TaskFailed: 6,
  SubOrchestrationInstanceCreated: 7,
  SubOrchestrationInstanceCompleted: 8,
  SubOrchestrationInstanceFailed: 9,
  TimerCreated: 10,
  TimerFired: 11,
  OrchestratorStarted: 12,
  OrchestratorCompleted: 13,
  EventSent: 14,
  EventRaised: 15,
  ContinueAsNew: 16,
  GenericEvent: 17,
  HistoryState: 18,
  ExecutionSuspended: 19,
  ExecutionResumed: 20,
} as const;

/** What an activity's or a sub-orchestration's error leaves in history when its shape is known. */
export interface FailureDetails {
  readonly ErrorType: string;
  readonly ErrorMessage: string;
  readonly StackTrace?: string | undefined;
  readonly IsNonRetriable: boolean;
  readonly Properties?: Readonly<Record<string, unknown>> | undefined;
  readonly InnerFailure?: FailureDetails | undefined;
}

/** A failure as it travels between instances. `Reason` is what people read. */
export interface Failure {
  readonly reason: string;
  readonly details: string;
  readonly failureDetails?: FailureDetails | undefined;
}

interface Common {
  /** The task id for scheduling events, -1 otherwise. */
  readonly EventId: number;
  readonly IsPlayed: boolean;
  /** ISO 8601 with milliseconds. */
  readonly Timestamp: string;
}

interface FailureFields {
  readonly Reason: string;
  readonly Details: string;
  readonly FailureDetails?: FailureDetails | undefined;
}

/** One line of an instance's history, in the spelling that the SDK and the status API use. */
export type HistoryEvent = Common &
  (
    | { EventType: 0; Name: string; Input: string | null; Version: string }
    | {
        EventType: 1;
        Result: string | null;
        OrchestrationStatus: string;
        FailureDetails?: FailureDetails | undefined;
      }
    | { EventType: 3; Input: string | null }
    | { EventType: 4; Name: string; Input: string }
    | { EventType: 5; TaskScheduledId: number; Result: string }
    | ({ EventType: 6; TaskScheduledId: number } & FailureFields)
    | { EventType: 7; Name: string; InstanceId: string; Input: string | null }
    | { EventType: 8; TaskScheduledId: number; Result: string }
    | ({ EventType: 9; TaskScheduledId: number } & FailureFields)
    | { EventType: 10; FireAt: string }
    | { EventType: 11; TimerId: number; FireAt: string }
    | { EventType: 12 }
    | { EventType: 13 }
    | { EventType: 14; InstanceId: string; Name: string; Input: string }
    | { EventType: 15; Name: string; Input: string | null }
    | { EventType: 17; Reason: string }
    | { EventType: 19; Reason: string }
    | { EventType: 20; Reason: string }
  );

/** An event without the fields that every event has. */
export type EventBody = HistoryEvent extends infer E
  ? E extends Common
    ? Omit<E, keyof Common>
    : never
  : never;

export function historyEvent(body: EventBody, atMs: number, eventId = -1): HistoryEvent {
  return {
    EventId: eventId,
    IsPlayed: false,
    Timestamp: new Date(atMs).toISOString(),
    ...body,
  };
}

/**
 * How to look at a running agent operation: `waitMs` is how long one activity long-polls, `pauseMs` how long the orchestration
 * sleeps in between. Short operations are seen at once; hours of shipping occupy no activity slot while they run.
 */
export interface PollPlan {
  readonly waitMs: number;
  readonly pauseMs: number;
}

const EAGER_FOR_MS = 5 * 60_000;

/** @param runningMs how long the operation has been running */
export function planPoll(runningMs: number): PollPlan {
  return runningMs < EAGER_FOR_MS ? { waitMs: 25_000, pauseMs: 0 } : { waitMs: 0, pauseMs: 30_000 };
}

/** How long to sleep before an agent that did not answer is asked again; doubles from 2 s to 60 s. */
export function pauseAfterSilence(attempt: number): number {
  return Math.min(60_000, 2_000 * 2 ** Math.min(attempt, 10));
}

/** One misbehaviour of the emulated service. Each is used up once, at the next place where it fits. */
export type RelayFault =
  /** The next listener's handshake is answered with this status. */
  | { readonly kind: "refuse-listen"; readonly status: number }
  /** The next listener's pings stay unanswered, as on a connection that an intermediary dropped silently. */
  | { readonly kind: "ignore-pings" }
  /** The next rendezvous handshake is answered with this status. */
  | { readonly kind: "refuse-rendezvous"; readonly status: number }
  /** A text or binary frame of any content goes to the listener before the next request. */
  | { readonly kind: "inject-frame"; readonly data: string | Uint8Array }
  /** The next request is held back. */
  | { readonly kind: "delay-request"; readonly delayMs: number }
  /** The next request goes to the listener twice, body included. */
  | { readonly kind: "duplicate-request" }
  /** The next request's body ends half-way and its channel is cut. */
  | { readonly kind: "cut-request-body" }
  /** The control channel is cut as soon as the next request was written to it. */
  | { readonly kind: "drop-control" }
  /** The next response is held back. */
  | { readonly kind: "delay-response"; readonly delayMs: number }
  /** The next response is swallowed. */
  | { readonly kind: "drop-response" }
  /** The sender's connection is cut half-way through the next response's body. */
  | { readonly kind: "cut-response-body" };

export type FaultOf<Kind extends RelayFault["kind"]> = Extract<RelayFault, { kind: Kind }>;

/** Faults that wait to happen, in the order in which they were added. */
export interface FaultQueue {
  add(...faults: readonly RelayFault[]): void;
  /** Takes the first waiting fault of this kind out of the queue. */
  take<Kind extends RelayFault["kind"]>(kind: Kind): FaultOf<Kind> | undefined;
  /** How many still wait; 0 proves that a test's faults all happened. */
  readonly waiting: number;
}

export function createFaultQueue(initial: readonly RelayFault[] = []): FaultQueue {
  const queue: RelayFault[] = [...initial];
  return {
    add: (...faults) => {
      queue.push(...faults);
    },
    take<Kind extends RelayFault["kind"]>(kind: Kind): FaultOf<Kind> | undefined {
      const at = queue.findIndex((fault) => fault.kind === kind);
      return at < 0 ? undefined : (queue.splice(at, 1)[0] as FaultOf<Kind>);
    },
    get waiting() {
      return queue.length;
    },
  };
}

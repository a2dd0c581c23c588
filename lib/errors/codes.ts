/**
 * Every error code that can reach a person, with what it means and what to do.
 * Codes are stable: they are never renamed and never change their meaning. docs/errors.md is made from this table.
 * One block per room; keep each block in alphabetical order.
 */
export const ERROR_CODES = {
  // any room
  INTERNAL: "A defect of this program. Report it with the run record; nothing was deleted.",
  INPUT_INVALID:
    "A value from outside does not have the expected form. Correct the field that the message names.",
  CANCELLED: "The work was stopped on request. Start it again when wanted.",

  // vhdx

  // repository

  // restore

  // relay
  RELAY_BUSY:
    "The agent has as many requests in hand as it takes at once, or is shutting down. Send the request again shortly.",
  RELAY_FORBIDDEN:
    "The relay knows the identity, but it lacks the right on this hybrid connection. Give it Listen (agent) or Send (function app).",
  RELAY_HANDLER_TIMED_OUT:
    "The agent's handler did not answer before the relay's deadline. Look at the agent's log; long work belongs into an operation.",
  RELAY_MESSAGE_INVALID:
    "A message on the relay channel does not follow the Hybrid Connections protocol. It was refused; look for a proxy that changes traffic.",
  RELAY_NO_LISTENER:
    "No agent listens on the hybrid connection. Check that the agent's service is running and online.",
  RELAY_NOT_FOUND:
    "The relay namespace has no hybrid connection of this name. Check the endpoint and the path.",
  RELAY_REQUEST_TOO_LARGE: "A request through the relay exceeds the agent's limit. Send it in pages.",
  RELAY_RESPONSE_TOO_LARGE: "A response through the relay exceeds the sender's limit. Ask for it in pages.",
  RELAY_RESPONSE_UNDELIVERED:
    "The agent handled a request, but its answer could not be delivered. Ask for the operation's state again.",
  RELAY_SERVICE_FAILED:
    "The relay service failed or closed the channel. It is tried again; check the Azure service health if it stays.",
  RELAY_STATUS_RESERVED:
    "A handler answered with a status that is not valid or that the relay reserves. Report it as a defect.",
  RELAY_TIMED_OUT:
    "No answer came through the relay in time. The request may have been carried out: ask for the operation's state again.",
  RELAY_TOKEN_REFUSED:
    "The relay refused the token. Check the shared access key or the identity, and the clock of this machine.",
  RELAY_TOKEN_UNAVAILABLE:
    "No token for the relay could be obtained. Check the identity or the key of this machine.",
  RELAY_UNREACHABLE: "The relay could not be reached. Check name resolution, proxy and outbound port 443.",

  // agent
  COLLECTION_FAILED:
    "The collection of VMs could not be made or changed. Check that the hosts form a failover cluster and that ConfigStoreRootPath is set and reachable.",
  HYPERV_ACCESS_DENIED:
    "The agent's account may not do this on the Hyper-V host. Run the agent as a local administrator of the host.",
  HYPERV_ANSWER_INVALID:
    "Hyper-V or a script answered in a form that this version does not understand. Nothing was assumed; report it with the agent's log.",
  HYPERV_CALL_FAILED:
    "A Hyper-V call failed. The message has its return value and job error text; look at the VMMS event log of the host.",
  HYPERV_OBJECT_MISSING:
    "Something that the step needs does not exist on this host. Check whether it was moved or removed.",
  MERGE_UNFINISHED:
    "The differencing files of a checkpoint were not merged in time. Look for VMMS events 19070 to 19100 and for mounts that hold the chain.",
  POWERSHELL_CRASHED:
    "The PowerShell process ended in the middle of a step. The step is taken up again from what is found on the host; look at the agent's log.",
  POWERSHELL_TIMED_OUT:
    "A script on the host did not answer in time and was ended with all its child processes. Look at the host's load and the agent's log.",
  POWERSHELL_UNAVAILABLE:
    "PowerShell could not be started. Check the executable in the agent's settings and the execution policy.",
  QUIESCE_FAILED:
    "The members could not be frozen together; they run on and nothing is left behind. The message names the cause; check the guests' VSS writers.",
  QUIESCE_TIMED_OUT:
    "The members could not be frozen within the deadline; they run on and nothing is left behind. Check the guests' VSS writers, or raise the deadline.",
  REFERENCE_POINT_LOST:
    "What changed since the last backup cannot be known. The disk is read completely, only differences are stored.",
  STORAGE_SNAPSHOT_FAILED:
    "The storage snapshot could not be taken, exposed or released. Look at the output of diskshadow in the facts and at the VSS provider.",
  TRACKING_DISABLED:
    "Change tracking is off for a disk. The disk is read completely, only differences are stored; the next reference point turns it on.",

  // simulated-host

  // orchestration and functions
  ACTIVITY_FAILED:
    "A step of the control plane failed. Read the message; the run was taken back and can be started again.",
  AGENT_SILENT:
    "The agent did not answer for longer than agentSilenceLimitMs. Check its service and the Relay, then start again.",
  GUEST_CLUSTER_BUSY:
    "A run of this guest cluster is active. Wait for it, or look at it under its status URL.",
  GUEST_CLUSTER_HELD:
    "Another control plane holds this guest cluster. Remove it from one of the two, then break its claim.",
  GUEST_CLUSTER_UNKNOWN:
    "No guest cluster of this id is configured. Check the id and the setting GCB_GUEST_CLUSTERS.",
  PREFLIGHT_REFUSED:
    "The preflight found causes that would make the backup fail. Cure each; nothing was touched.",
  RESTORE_POINT_UNKNOWN:
    "No restore point of this name exists. List the restore points of the guest cluster.",
  RUN_UNKNOWN: "No run of this id is recorded.",
  SCHEDULE_INVALID:
    "The schedule is not an NCRONTAB expression with six fields, or its time zone is unknown.",
  SETTINGS_INVALID:
    "An application setting is missing or malformed. Correct the setting that the message names.",
  STEP_RESULTS_DISAGREE:
    "Two steps of one run speak of different disks. The run was taken back; report it with the run record.",

  // local-host
  HOST_ADDRESS_IN_USE:
    "The host could not listen on the given address. Choose another port, or stop what listens there.",
  HOST_APP_INVALID:
    "The Functions app, its host.json or its settings can't be used. Correct what the message names and start again.",
  HOST_DATA_IN_USE:
    "Another host owns the data folder. Stop it, or give another folder; the lock ends with its process.",
  HOST_DATA_INVALID: "The data folder's database can't be opened. Restore it, or start with an empty folder.",

  // cli
  ESTATE_SERVICE_FAILED:
    "A service of the local estate did not start or ended early. Read the log that the message names.",
  DEMO_NOT_PROVED:
    "The demo could not prove what it set out to prove. The message names what is not as it must be.",
} as const satisfies Record<string, string>;

export type BackupErrorCode = keyof typeof ERROR_CODES;

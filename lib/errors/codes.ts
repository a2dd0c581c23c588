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
  VHDX_BAT_OFFSET_INVALID:
    "A block of the disk is placed inside the file's headers or behind any possible file. The file is damaged: take another copy.",
  VHDX_BAT_PARTIAL_WITHOUT_PARENT:
    "A block is marked as partly the parent's, but the disk has no parent. The file is damaged: take another copy.",
  VHDX_BAT_RESERVED_NONZERO:
    "A block table entry has reserved bits set. The file is damaged, or of a newer format: take another copy.",
  VHDX_BAT_STATE_RESERVED:
    "A block has a state that the format does not define. The file is damaged: take another copy.",
  VHDX_BAT_TOO_SMALL:
    "The block table has no room for all blocks of the disk. The file is damaged: take another copy.",
  VHDX_BITMAP_MISSING:
    "A block is marked as partly present, but the bitmap that says which part is missing. Take another copy.",
  VHDX_BITMAP_STATE_RESERVED:
    "A sector bitmap has a state that the format does not define. The file is damaged: take another copy.",
  VHDX_BITMAP_WITHOUT_PARENT:
    "A disk without parent has a sector bitmap. The file is damaged: take another copy.",
  VHDX_BLOCKS_OVERLAP: "Two blocks share one place in the file. The file is damaged: take another copy.",
  VHDX_BLOCK_BEYOND_FILE: "A block lies behind the end of the file. The file was cut short: copy it again.",
  VHDX_BLOCK_OVERLAPS_STRUCTURE:
    "A block lies over the log or a region of the file. The file is damaged: take another copy.",
  VHDX_BLOCK_SIZE_INVALID:
    "The block size is not a power of two from 1 MiB to 256 MiB. The file is damaged: take another copy.",
  VHDX_CHAIN_CYCLE:
    "The chain of parents comes back to a file that is already in it. Correct the parent with Set-VHD.",
  VHDX_CHAIN_TOO_LONG: "The chain of parents has more files than are followed. Merge checkpoints.",
  VHDX_DISK_SIZE_TOO_LARGE:
    "The virtual disk is said to be larger than 64 TiB. The file is damaged: take another copy.",
  VHDX_DISK_SIZE_UNALIGNED:
    "The virtual disk's size is no multiple of its sector size. The file is damaged: take another copy.",
  VHDX_DISK_SIZE_ZERO: "The virtual disk is said to have no bytes. The file is damaged: take another copy.",
  VHDX_FILE_INCOMPLETE:
    "The file is marked as not completely written. Let its writer finish, or take another copy.",
  VHDX_FILE_PARAMETERS_RESERVED_NONZERO:
    "Reserved bits of the file parameters are set. The file is damaged, or of a newer format.",
  VHDX_FILE_TOO_SHORT: "The file ends before what it should hold. It was cut short: copy it again.",
  VHDX_GROW_REFUSED:
    "The disk cannot be made larger as asked. Ask for a multiple of the sector size, not below the present size, at most 64 TiB.",
  VHDX_HEADERS_INVALID:
    "Neither header of the file has a good checksum. The file is damaged: take another copy.",
  VHDX_HEADER_COPY_INVALID:
    "One of the two headers has no good checksum; the other is used. Nothing need be done.",
  VHDX_LOCATOR_COUNT_INVALID:
    "The parent locator's count does not agree with its length. The file is damaged: take another copy.",
  VHDX_LOCATOR_ENTRY_INVALID:
    "A text of the parent locator is malformed. The file is damaged: take another copy.",
  VHDX_LOCATOR_KEY_DUPLICATE: "The parent locator has a key twice. The file is damaged: take another copy.",
  VHDX_LOCATOR_LINKAGE_INVALID:
    "The parent locator does not say which content the parent must have. The file is damaged: take another copy.",
  VHDX_LOCATOR_MISSING:
    "A differencing disk does not say where its parent is. The file is damaged: take another copy.",
  VHDX_LOCATOR_PATH_MISSING: "The parent locator names no path of the parent. Set the parent with Set-VHD.",
  VHDX_LOCATOR_RESERVED_NONZERO:
    "Reserved bytes of the parent locator are set. The file is damaged, or of a newer format.",
  VHDX_LOCATOR_TYPE_UNKNOWN: "The parent is no VHDX file. Only VHDX parents can be followed.",
  VHDX_LOCATOR_WITHOUT_PARENT:
    "A disk without parent has a parent locator, which is ignored. Nothing need be done.",
  VHDX_LOGICAL_SECTOR_INVALID:
    "The logical sector size is neither 512 nor 4096. The file is damaged: take another copy.",
  VHDX_LOG_BEYOND_FILE: "The log passes the end of the file. The file was cut short: copy it again.",
  VHDX_LOG_DATA_SECTOR_INVALID:
    "The newest log entry holds data of another entry. The file is damaged: take another copy.",
  VHDX_LOG_DESCRIPTOR_INVALID:
    "The newest log entry has a malformed descriptor. The file is damaged: take another copy.",
  VHDX_LOG_ENTRY_INVALID: "The newest log entry contradicts itself. The file is damaged: take another copy.",
  VHDX_LOG_FILE_SIZE_INVALID:
    "The newest log entry gives an impossible file size. The file is damaged: take another copy.",
  VHDX_LOG_FILE_TRUNCATED:
    "The file is shorter than it was when its log was written. It was cut short: copy it again.",
  VHDX_LOG_PLACE_INVALID:
    "The header gives the log an impossible place. The file is damaged: take another copy.",
  VHDX_LOG_SEQUENCE_MISSING:
    "The log must be replayed, but holds nothing whole to replay. The file is damaged: take another copy.",
  VHDX_LOG_TARGET_BEYOND_LIMIT:
    "The log would write behind any possible file. The file is damaged or hostile: take another copy.",
  VHDX_LOG_TARGET_IN_HEADERS:
    "The log would overwrite the file's headers. The file is damaged or hostile: take another copy.",
  VHDX_LOG_TARGET_IN_LOG:
    "The log would overwrite itself. The file is damaged or hostile: take another copy.",
  VHDX_LOG_TARGET_UNALIGNED:
    "The log would write at an offset that is no multiple of 4 KiB. The file is damaged: take another copy.",
  VHDX_LOG_TOO_COMPLEX:
    "The log holds more than any writer puts there. The file is damaged or hostile: take another copy.",
  VHDX_LOG_VERSION_UNSUPPORTED:
    "The log must be replayed, but has an unknown version. Mount and detach the disk once in Windows.",
  VHDX_LOG_ZERO_LENGTH_INVALID:
    "The log would write zeros outside of the file. The file is damaged or hostile: take another copy.",
  VHDX_METADATA_COUNT_INVALID:
    "The metadata table says it has more entries than fit. The file is damaged: take another copy.",
  VHDX_METADATA_DUPLICATE: "A metadata item is there twice. The file is damaged: take another copy.",
  VHDX_METADATA_FLAGS_INVALID:
    "A metadata item has unusual flags; its content is used. Nothing need be done.",
  VHDX_METADATA_LENGTH_INVALID:
    "A metadata item has the wrong length. The file is damaged: take another copy.",
  VHDX_METADATA_MISSING: "A required metadata item is missing. The file is damaged: take another copy.",
  VHDX_METADATA_OVERLAP: "Two metadata items overlap. The file is damaged: take another copy.",
  VHDX_METADATA_PLACE_INVALID:
    "A metadata item lies outside of the metadata region. The file is damaged: take another copy.",
  VHDX_METADATA_RESERVED_NONZERO:
    "Reserved bits of the metadata table are set. The file is damaged, or of a newer format.",
  VHDX_METADATA_TABLE_INVALID: "The metadata table has no signature. The file is damaged: take another copy.",
  VHDX_METADATA_TOO_LONG: "A metadata item is longer than 1 MiB. The file is damaged: take another copy.",
  VHDX_METADATA_TOO_MANY_USER_ITEMS:
    "The metadata has more than 1024 user items. The file is damaged: take another copy.",
  VHDX_METADATA_UNKNOWN_REQUIRED:
    "The file has a required metadata item that is unknown. It needs a newer version of this program.",
  VHDX_NOT_VHDX: "The file is no VHDX file. Check its name; older .vhd files must be converted first.",
  VHDX_OPTIONS_INVALID:
    "A new disk was asked for with sizes that the format does not allow. Correct the value that the message names.",
  VHDX_PARENT_LINKAGE_MISMATCH:
    "The parent's content is not the one that the checkpoint was made on. Find the right parent file.",
  VHDX_PARENT_MISSING:
    "A parent of the disk is not in its folder. Put the file that the message names beside its child.",
  VHDX_PARENT_OUTSIDE_FOLDER:
    "A disk names a parent outside of its own folder. Bring the files together and set the parent with Set-VHD.",
  VHDX_PARENT_REQUIRED:
    "Content of a parent is needed, but the differencing disk was opened alone. Open the whole chain.",
  VHDX_PARENT_SECTOR_SIZE_MISMATCH:
    "Parent and child have different logical sector sizes. Find the right parent file.",
  VHDX_PHYSICAL_SECTOR_INVALID:
    "The physical sector size is neither 512 nor 4096. The file is damaged: take another copy.",
  VHDX_RANGE_INVALID:
    "Bytes outside of the disk were asked for. Report it as a defect, or correct the range.",
  VHDX_REGIONS_OVERLAP:
    "Two regions of the file, or a region and the log, overlap. The file is damaged: take another copy.",
  VHDX_REGION_BEYOND_FILE: "A region lies behind the end of the file. The file was cut short: copy it again.",
  VHDX_REGION_COUNT_INVALID:
    "The region table says it has more entries than fit. The file is damaged: take another copy.",
  VHDX_REGION_DUPLICATE: "A region is in the table twice. The file is damaged: take another copy.",
  VHDX_REGION_MISSING:
    "The block table or the metadata is not in the region table. The file is damaged: take another copy.",
  VHDX_REGION_NOT_REQUIRED:
    "A known region is not marked as required; QEMU writes files so. Nothing need be done.",
  VHDX_REGION_PLACE_INVALID: "A region has an impossible place. The file is damaged: take another copy.",
  VHDX_REGION_TABLES_INVALID:
    "Neither region table has a good checksum. The file is damaged: take another copy.",
  VHDX_REGION_TABLE_COPY_INVALID:
    "One of the two region tables has no good checksum; the other is used. Nothing need be done.",
  VHDX_REGION_UNKNOWN_REQUIRED:
    "The file has a required region that is unknown. It needs a newer version of this program.",
  VHDX_VERSION_UNSUPPORTED:
    "The file has an unknown format version. It needs a newer version of this program.",
  VHDX_WRITER_FAILED:
    "An earlier write to the file failed, so nothing more is written. Cure the cause and open the file again: its log is replayed.",

  // repository
  REPOSITORY_EXISTS: "The place holds a repository already. Open it, or choose another place.",
  REPOSITORY_FULL:
    "The repository holds as many chunks as this version can index in memory. Begin another repository for further guest clusters.",
  REPOSITORY_KEY_CANNOT_COMMIT: "This key may not commit restore points. Use the control plane's key.",
  REPOSITORY_KEY_CANNOT_READ: "This key may write backups but not read them. Restore with the passphrase.",
  REPOSITORY_KEY_INVALID:
    "The text is no repository key, or a part of it is missing. Copy it again from gcb repo keys.",
  REPOSITORY_KEY_MISMATCH:
    "The key was made for another repository, or the repository's public keys were changed since. Nothing was written; export the key again.",
  REPOSITORY_MISSING: "The place holds no repository. Check the URL, or create one.",
  REPOSITORY_OBJECT_DAMAGED:
    "A stored object is not what was written. Nothing of it was used; restore another restore point or bring the object back.",
  REPOSITORY_OBJECT_MISSING: "A stored object that others name is gone. Bring it back from a copy.",
  REPOSITORY_PASSPHRASE_WRONG: "The passphrase does not open the repository. There is no other way in.",
  STORE_REFUSED: "The store refused the request. Check the rights of the identity or SAS.",
  STORE_UNAVAILABLE:
    "The store did not answer or failed. It is tried again; check the storage account and the network.",

  // restore
  RESTORE_DISK_UNKNOWN:
    "The restore point has no disk of this id. Look at the restore point's list of disks.",
  RESTORE_NOT_IDENTICAL:
    "A restored disk is not the one in the restore point. The file was not given its final name; restore again and verify the repository.",
  RESTORE_PASSPHRASE_MISSING:
    "The agent may not read the repository, because its configuration has no restore.passphraseFile. Add it, or restore with gcb.",
  RESTORE_PATH_REFUSED:
    "The target directory is not below a restore root of the agent. Choose another, or add a root to its configuration.",
  RESTORE_TARGET_EXISTS:
    "A file of this name is already in the target directory. Nothing is overwritten: choose an empty directory.",

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
  AGENT_ANSWER_INVALID:
    "The agent answered in a form that this version does not understand. Bring control plane and agent to the same version.",
  AGENT_CONFIG_INVALID:
    "The agent's configuration is not valid. Correct what the message names and start it again.",
  AGENT_DATA_INVALID:
    "The agent's data directory cannot be used. Restore it or give an empty one; the next preflight finds what an earlier run left.",
  AGENT_DATA_IN_USE:
    "Another agent uses the data directory. Stop that one, or give another directory; the lock ends with its process.",
  AGENT_MEMBERS_BUSY:
    "Another run of this agent works on one of the members. Wait until it has ended, or undo it.",
  AGENT_OPERATION_CONFLICT:
    "The operation exists with another input. Ask for it unchanged, or start a new run.",
  AGENT_OPERATION_UNKNOWN: "The agent has no operation of this id. Ask for it again with PUT.",
  AGENT_ROUTE_UNKNOWN:
    "The agent has no such resource or method. Bring control plane and agent to the same version.",
  AGENT_RUN_BUSY: "Another operation of the run is under way. Ask again when it has ended.",
  AGENT_RUN_ENDED: "The run was undone or cleaned up; nothing more is done for it. Start a new run.",
  AGENT_RUN_EXPIRED:
    "The control plane was silent for too long, so the agent undid the run. Look at the control plane, then start again.",
  AGENT_STEP_MISSING: "A step was asked for before the one it builds on. Start a new run.",
  AGENT_UNREACHABLE: "The agent could not be reached. Check its service and the Relay; it is tried again.",
  CHECKPOINT_LOST:
    "The recovery checkpoint of the run is gone from the host. The run is undone; the next one is still incremental.",
  COLLECTION_FAILED:
    "The collection of VMs could not be made or changed. Check that the hosts form a failover cluster and that ConfigStoreRootPath is set and reachable.",
  COMMAND_EXPIRED:
    "A command reached the agent too late or too early. Set the clocks of function app and host; commands live for two minutes.",
  COMMAND_REFUSED:
    "A command to the agent was not signed by its control plane, or was changed on the way. Check the agent's controlPlanePublicKeys.",
  COMMAND_REPLAYED:
    "A command reached the agent a second time and was refused. If it repeats, somebody else uses the Relay: renew its keys.",
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
  REFERENCE_UPDATE_UNPROVED:
    "The new reference points cannot be proved on the host. The run is undone; the previous reference points stay and the next run is incremental.",
  STATIC_DISK_INVALID:
    "The file of a disk in the storage snapshot is not the one the checkpoint names. Nothing was read; look at the message and start again.",
  STORAGE_SNAPSHOT_FAILED:
    "The storage snapshot could not be taken, exposed or released. Look at the output of diskshadow in the facts and at the VSS provider.",
  STORAGE_SNAPSHOT_LOST:
    "The storage snapshot of the run is gone before everything was read. Give the storage more room for snapshots, then start again.",
  TRACKING_DISABLED:
    "Change tracking is off for a disk. The disk is read completely, only differences are stored; the next reference point turns it on.",
  UNDO_INCOMPLETE:
    "Not everything of a run could be taken back. The message names what failed; ask for the undo again, or remove it by hand.",

  // simulated-host
  SIMULATED_ESTATE_EXISTS:
    "The folder for a new simulated estate is not empty. Give another folder, or remove that one.",
  SIMULATED_ESTATE_INVALID:
    "The folder holds no simulated estate, or a damaged one. Create it anew with gcb simulated-host create.",
  SIMULATED_ESTATE_IN_USE:
    "Another simulated host runs the estate. Stop that one; the lock ends with its process.",
  SIMULATED_HOST_UNREACHABLE:
    "The simulated host could not be reached. Start it with gcb simulated-host run and give its address.",

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

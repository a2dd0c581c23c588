/** Thrown for orchestrator code that can't be run rightly; the instance fails with this message. */
export class OrchestratorFault extends Error {
  override readonly name = "OrchestratorFault";
}

/**
 * Tables of the host's database. Instants are milliseconds since 1970. Payloads are JSON text.
 *
 * `inbox` and `entity_inbox` hold messages that wait to be processed; a timer is an inbox row with a later `visible_at`.
 * A message for a former execution of an instance (`execution` differs) is dropped; events from outside have none.
 */
export const FORMAT_VERSION = 1;

export const SCHEMA = `
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS instances (
  id TEXT PRIMARY KEY,
  execution TEXT NOT NULL,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  status TEXT NOT NULL,
  input TEXT,
  output TEXT,
  custom_status TEXT,
  parent TEXT,
  parent_execution TEXT,
  parent_task INTEGER,
  created INTEGER NOT NULL,
  updated INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS instances_by_creation ON instances (created, id);
CREATE INDEX IF NOT EXISTS instances_by_status ON instances (status, updated);
CREATE INDEX IF NOT EXISTS instances_by_parent ON instances (parent) WHERE parent IS NOT NULL;
CREATE TABLE IF NOT EXISTS history (
  instance TEXT NOT NULL,
  seq INTEGER NOT NULL,
  event TEXT NOT NULL,
  PRIMARY KEY (instance, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS inbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  instance TEXT NOT NULL,
  execution TEXT,
  visible_at INTEGER NOT NULL,
  timer INTEGER,
  event TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS inbox_by_instance ON inbox (instance, visible_at);
CREATE INDEX IF NOT EXISTS inbox_by_time ON inbox (visible_at, instance);
CREATE TABLE IF NOT EXISTS work (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  instance TEXT NOT NULL,
  execution TEXT NOT NULL,
  task INTEGER NOT NULL,
  name TEXT NOT NULL,
  input TEXT,
  not_before INTEGER NOT NULL,
  leased_at INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS work_by_lease ON work (leased_at, not_before);
CREATE INDEX IF NOT EXISTS work_in_order ON work (leased_at, seq);
CREATE INDEX IF NOT EXISTS work_by_instance ON work (instance);
CREATE TABLE IF NOT EXISTS entities (
  id TEXT PRIMARY KEY,
  state TEXT,
  locked_by TEXT,
  locked_for TEXT,
  updated INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entities_by_lock ON entities (locked_for) WHERE locked_for IS NOT NULL;
CREATE TABLE IF NOT EXISTS entity_inbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  entity TEXT NOT NULL,
  sender TEXT,
  visible_at INTEGER NOT NULL,
  message TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS entity_inbox_by_entity ON entity_inbox (entity, visible_at);
CREATE INDEX IF NOT EXISTS entity_inbox_by_sender ON entity_inbox (entity, sender, visible_at);
CREATE INDEX IF NOT EXISTS entity_inbox_by_time ON entity_inbox (visible_at, entity);
CREATE TABLE IF NOT EXISTS entity_attempts (entity TEXT PRIMARY KEY, attempts INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parked (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  target TEXT NOT NULL,
  name TEXT NOT NULL,
  reason TEXT NOT NULL,
  payload TEXT,
  parked_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS timer_triggers (
  name TEXT PRIMARY KEY,
  schedule TEXT NOT NULL,
  last INTEGER,
  next INTEGER,
  updated INTEGER NOT NULL
) WITHOUT ROWID;
`;

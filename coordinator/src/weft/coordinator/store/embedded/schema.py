"""The file's layout, its versions, and the migrations between them.

A task has one row in `tasks`, which is written once. An unfinished task also has a row in `live`, with its changes since the
submission; an ended one has a row in `ends`, with its outcome. A trigger on `ends` removes the row in `live`; a task that is
inserted and ends in one transaction never has one. Ends are rows of their own, because a row in `tasks` that grows would
split full pages. Large columns come last, so that reads of the others do not touch them.
"""

from __future__ import annotations

import sqlite3

from weft.coordinator.store.open_errors import StoreForeign, StoreTooNew

# "weft", as SQLite's application_id: marks the file as a store of weft.
APPLICATION_ID = 0x77656674
VERSION = 13

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
-- How often the store was opened, and the largest number of a forgotten task.
INSERT INTO meta VALUES ('generation', 0), ('last_number', 0);
CREATE TABLE tasks (
  id INTEGER PRIMARY KEY,
  method TEXT NOT NULL,
  priority INTEGER NOT NULL,
  created_at REAL NOT NULL,
  delay_s REAL,
  schedule_to_start_s REAL,
  schedule_to_close_s REAL,
  request_key INTEGER,
  request_id TEXT,
  request_digest BLOB,
  -- Retry policy, start_to_close and TTLs in full, then requirements (task_spec.py); in a second line, fairness key, run
  -- limits' keys and locks (task_demand.py); in a third one, alternatives (stored_alternatives.py). NULL or an object: written before version 7, without the defaults of then.
  options TEXT,
  context BLOB,
  payload BLOB,
  -- Last column: added by migration 9. Of a task without a group, the row's header says so: no large column is read.
  group_id INTEGER
);
CREATE INDEX tasks_by_group ON tasks (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX tasks_by_request ON tasks (request_key) WHERE request_key IS NOT NULL;
CREATE TABLE live (
  id INTEGER PRIMARY KEY,
  -- Attempts that are known to have ended.
  attempt INTEGER NOT NULL DEFAULT 0,
  failures INTEGER NOT NULL DEFAULT 0,
  crashes INTEGER NOT NULL DEFAULT 0,
  -- When it is ready, if a retry has changed that; 0: it was ready when this row was written.
  ready_at REAL,
  -- When RetryTask started its limits anew, and the attempt count then.
  retried_at REAL,
  fresh_attempt INTEGER NOT NULL DEFAULT 0,
  cancel_reason TEXT,
  cancel_grace_s REAL,
  agent_id TEXT,
  epoch INTEGER,
  started_at REAL,
  reported INTEGER NOT NULL DEFAULT 0,
  outcome BLOB,
  -- Attempts that did not end the task (history.py); NULL: none.
  history BLOB
);
CREATE TABLE ends (
  id INTEGER PRIMARY KEY,
  state INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  crashes INTEGER NOT NULL,
  agent_id TEXT NOT NULL,
  -- The session of the last attempt, and the answer to its report ("stale": it made none). They identify a repeated
  -- report.
  epoch INTEGER NOT NULL,
  answer TEXT NOT NULL,
  ready_at REAL NOT NULL,
  started_at REAL,
  finished_at REAL NOT NULL,
  expires_at REAL NOT NULL,
  -- Payload, outcome and progress are gone; the row stays for its request id.
  expired INTEGER NOT NULL DEFAULT 0,
  progress_count INTEGER NOT NULL,
  outcome BLOB,
  history BLOB
);
CREATE INDEX ends_by_expiry ON ends (expires_at);
CREATE TABLE progress (
  task_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  position INTEGER NOT NULL,
  payload BLOB NOT NULL,
  -- Initial metadata before it.
  headers BLOB NOT NULL DEFAULT x'',
  PRIMARY KEY (task_id, sequence)
) WITHOUT ROWID;
CREATE TABLE agents (
  agent_id TEXT PRIMARY KEY,
  instance_id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  connected INTEGER NOT NULL,
  desired_state INTEGER NOT NULL,
  description BLOB NOT NULL,
  -- It said goodbye, and has not connected since. Last column: added by migration 3.
  said_goodbye INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE contracts (
  ordinal INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,
  file_descriptor_set BLOB NOT NULL
);
CREATE TABLE hosted (method TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE paused (method TEXT PRIMARY KEY) WITHOUT ROWID;
-- The table (table_store.py). `meta` has the last revision.
CREATE TABLE table_rows (
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  revision INTEGER NOT NULL,
  due_at REAL,
  value BLOB NOT NULL,
  PRIMARY KEY (kind, key)
);
CREATE INDEX table_rows_by_due ON table_rows (kind, due_at, key) WHERE due_at IS NOT NULL;
INSERT INTO meta VALUES ('row_revision', 0);
CREATE TABLE run_limits (
  method TEXT NOT NULL,
  -- The key expression; empty: the method as a whole.
  expression TEXT NOT NULL,
  max_running INTEGER NOT NULL,
  rate_per_s REAL NOT NULL,
  burst INTEGER NOT NULL,
  at_limit INTEGER NOT NULL,
  grace_s REAL NOT NULL,
  PRIMARY KEY (method, expression)
) WITHOUT ROWID;
CREATE TABLE groups (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  created_at REAL NOT NULL,
  -- By CreateGroup.
  created INTEGER NOT NULL,
  closed_at REAL,
  ended_at REAL,
  -- When its user looks at the note; infinite: when it ends.
  due_at REAL,
  -- It has lost its name; the row stays for its tasks.
  deleted INTEGER NOT NULL DEFAULT 0,
  -- Forgotten tasks. The others are counted when the store is opened.
  succeeded INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  cancelled INTEGER NOT NULL DEFAULT 0,
  note BLOB
);
CREATE UNIQUE INDEX groups_by_name ON groups (name) WHERE NOT deleted;
CREATE INDEX groups_by_due ON groups (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE topics (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  -- The oldest kept event (one more than `last`, if none is kept) and the newest one, their bytes, and when the newest was stored.
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  last_at REAL NOT NULL
);
CREATE TABLE events (
  topic INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  at REAL NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (topic, sequence)
) WITHOUT ROWID;
-- Ids of events, for some minutes (event_store.bucket_of).
CREATE TABLE event_ids (
  bucket INTEGER NOT NULL,
  topic INTEGER NOT NULL,
  id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  PRIMARY KEY (bucket, topic, id)
) WITHOUT ROWID;
-- States that locks keep (state_store.py).
CREATE TABLE states (
  name TEXT NOT NULL PRIMARY KEY,
  version INTEGER NOT NULL,
  type TEXT NOT NULL,
  updated_at REAL NOT NULL,
  expires_at REAL,
  task_id TEXT NOT NULL,
  value BLOB NOT NULL
);
CREATE INDEX states_by_end ON states (expires_at) WHERE expires_at IS NOT NULL;
-- What handlers have recorded, and signals (step_store.py).
CREATE TABLE steps (
  task_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  name TEXT NOT NULL,
  kind INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  recorded_at REAL NOT NULL,
  wake_at REAL,
  -- Of a signal, if its sender gave it one.
  signal_id TEXT,
  value BLOB NOT NULL,
  PRIMARY KEY (task_id, sequence)
) WITHOUT ROWID;
CREATE UNIQUE INDEX steps_by_name ON steps (task_id, name);
CREATE TRIGGER task_ends AFTER INSERT ON ends BEGIN DELETE FROM live WHERE id = new.id; END;
"""

# From each version to the next one. A migration never uses the text above, which changes with every version.
MIGRATIONS: dict[int, str] = {
    # Version 1 kept neither the session of the last attempt nor how it ended.
    1: """
DROP TRIGGER task_ends;
DROP INDEX ends_by_expiry;
ALTER TABLE ends RENAME TO ends_1;
CREATE TABLE ends (
  id INTEGER PRIMARY KEY,
  state INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  crashes INTEGER NOT NULL,
  agent_id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  answer TEXT NOT NULL,
  ready_at REAL NOT NULL,
  started_at REAL,
  finished_at REAL NOT NULL,
  expires_at REAL NOT NULL,
  expired INTEGER NOT NULL DEFAULT 0,
  progress_count INTEGER NOT NULL,
  outcome BLOB
);
INSERT INTO ends
  SELECT id, state, attempt, crashes, agent_id, 0, 'stale', ready_at, started_at, finished_at, expires_at, expired,
         progress_count, outcome
  FROM ends_1;
DROP TABLE ends_1;
CREATE INDEX ends_by_expiry ON ends (expires_at);
CREATE TRIGGER task_ends AFTER INSERT ON ends BEGIN DELETE FROM live WHERE id = new.id; END;
""",
    # Version 2 gave every new task a row in `live` by itself.
    2: "DROP TRIGGER task_lives;",
    # Version 3 did not tell agents that left from lost ones.
    3: "ALTER TABLE agents ADD COLUMN said_goodbye INTEGER NOT NULL DEFAULT 0;",
    # Version 4 had no history of attempts.
    4: "ALTER TABLE live ADD COLUMN history BLOB; ALTER TABLE ends ADD COLUMN history BLOB;",
    # Version 5 had no initial metadata of streams.
    5: "ALTER TABLE progress ADD COLUMN headers BLOB NOT NULL DEFAULT x'';",
    # Version 6 left out options that were the default. Its rows stay as they are: to rewrite a million of them takes long.
    6: "",
    # Version 7 had no table of rows.
    7: """
CREATE TABLE table_rows (
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  revision INTEGER NOT NULL,
  due_at REAL,
  value BLOB NOT NULL,
  PRIMARY KEY (kind, key)
);
CREATE INDEX table_rows_by_due ON table_rows (kind, due_at, key) WHERE due_at IS NOT NULL;
INSERT INTO meta VALUES ('row_revision', 0);
""",
    # Version 8 had no run limits, and no second line of options.
    8: """
CREATE TABLE run_limits (
  method TEXT NOT NULL,
  expression TEXT NOT NULL,
  max_running INTEGER NOT NULL,
  rate_per_s REAL NOT NULL,
  burst INTEGER NOT NULL,
  at_limit INTEGER NOT NULL,
  grace_s REAL NOT NULL,
  PRIMARY KEY (method, expression)
) WITHOUT ROWID;
""",
    # Version 9 had no groups, and no third line of options.
    9: """
ALTER TABLE tasks ADD COLUMN group_id INTEGER;
CREATE INDEX tasks_by_group ON tasks (group_id) WHERE group_id IS NOT NULL;
CREATE TABLE groups (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  created_at REAL NOT NULL,
  created INTEGER NOT NULL,
  closed_at REAL,
  ended_at REAL,
  due_at REAL,
  deleted INTEGER NOT NULL DEFAULT 0,
  succeeded INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  cancelled INTEGER NOT NULL DEFAULT 0,
  note BLOB
);
CREATE UNIQUE INDEX groups_by_name ON groups (name) WHERE NOT deleted;
CREATE INDEX groups_by_due ON groups (due_at) WHERE due_at IS NOT NULL;
""",
    # Version 10 had no events.
    10: """
CREATE TABLE topics (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  last_at REAL NOT NULL
);
CREATE TABLE events (
  topic INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  at REAL NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (topic, sequence)
) WITHOUT ROWID;
CREATE TABLE event_ids (
  bucket INTEGER NOT NULL,
  topic INTEGER NOT NULL,
  id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  PRIMARY KEY (bucket, topic, id)
) WITHOUT ROWID;
""",
    # Version 11 had no states, and none of the locks in the second line of options kept one.
    11: """
CREATE TABLE states (
  name TEXT NOT NULL PRIMARY KEY,
  version INTEGER NOT NULL,
  type TEXT NOT NULL,
  updated_at REAL NOT NULL,
  expires_at REAL,
  task_id TEXT NOT NULL,
  value BLOB NOT NULL
);
CREATE INDEX states_by_end ON states (expires_at) WHERE expires_at IS NOT NULL;
""",
    # Version 12 had no steps.
    12: """
CREATE TABLE steps (
  task_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  name TEXT NOT NULL,
  kind INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  recorded_at REAL NOT NULL,
  wake_at REAL,
  signal_id TEXT,
  value BLOB NOT NULL,
  PRIMARY KEY (task_id, sequence)
) WITHOUT ROWID;
CREATE UNIQUE INDEX steps_by_name ON steps (task_id, name);
""",
}


def check(connection: sqlite3.Connection) -> int:
    """The version of a file's layout; 0: the file is empty. Changes nothing.

    Raises:
        StoreForeign: it is another program's SQLite file.
        StoreTooNew: a newer weft wrote it.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not tables and application_id == version == 0:
        return 0
    if application_id != APPLICATION_ID or version < 1:
        raise StoreForeign("it is another program's database; choose another --store")
    if version > VERSION:
        raise StoreTooNew(
            f"it was written by a newer weft (layout {version}, this one knows {VERSION}): upgrade this one"
        )
    return int(version)


def prepare(connection: sqlite3.Connection, version: int) -> None:
    """Make the layout in an empty file, or migrate an older one step by step. Each step is all or nothing."""
    if version == 0:
        _run(connection, f"PRAGMA application_id = {APPLICATION_ID}; {_SCHEMA}", VERSION)
        return
    for step in range(version, VERSION):
        _run(connection, MIGRATIONS[step], step + 1)


def _run(connection: sqlite3.Connection, script: str, version: int) -> None:
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {version}; COMMIT;")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise

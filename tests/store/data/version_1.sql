-- A store as version 1 left it: two finished tasks (one with a request id), one that failed an attempt, one queued.
PRAGMA application_id = 2003134068;
PRAGMA user_version = 1;
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
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
  options TEXT,
  context BLOB,
  payload BLOB
);
CREATE INDEX tasks_by_request ON tasks (request_key) WHERE request_key IS NOT NULL;
CREATE TABLE live (
  id INTEGER PRIMARY KEY,
  attempt INTEGER NOT NULL DEFAULT 0,
  failures INTEGER NOT NULL DEFAULT 0,
  crashes INTEGER NOT NULL DEFAULT 0,
  ready_at REAL,
  retried_at REAL,
  fresh_attempt INTEGER NOT NULL DEFAULT 0,
  cancel_reason TEXT,
  cancel_grace_s REAL,
  agent_id TEXT,
  epoch INTEGER,
  started_at REAL,
  reported INTEGER NOT NULL DEFAULT 0,
  outcome BLOB
);
CREATE TABLE ends (
  id INTEGER PRIMARY KEY,
  state INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  crashes INTEGER NOT NULL,
  agent_id TEXT NOT NULL,
  ready_at REAL NOT NULL,
  started_at REAL,
  finished_at REAL NOT NULL,
  expires_at REAL NOT NULL,
  expired INTEGER NOT NULL DEFAULT 0,
  progress_count INTEGER NOT NULL,
  outcome BLOB
);
CREATE INDEX ends_by_expiry ON ends (expires_at);
CREATE TABLE progress (
  task_id INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  position INTEGER NOT NULL,
  payload BLOB NOT NULL,
  PRIMARY KEY (task_id, sequence)
) WITHOUT ROWID;
CREATE TABLE agents (
  agent_id TEXT PRIMARY KEY,
  instance_id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  connected INTEGER NOT NULL,
  desired_state INTEGER NOT NULL,
  description BLOB NOT NULL
);
CREATE TABLE contracts (
  ordinal INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,
  file_descriptor_set BLOB NOT NULL
);
CREATE TABLE hosted (method TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE paused (method TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TRIGGER task_lives AFTER INSERT ON tasks BEGIN INSERT INTO live (id) VALUES (new.id); END;
CREATE TRIGGER task_ends AFTER INSERT ON ends BEGIN DELETE FROM live WHERE id = new.id; END;

UPDATE meta SET value = 4 WHERE name = 'generation';
INSERT INTO tasks (id, method, priority, created_at, delay_s, schedule_to_start_s, schedule_to_close_s,
                   request_key, request_id, request_digest, options, context, payload) VALUES
  (1001, 'acme.v1.Analyst/Analyze', 5, 1699999000.0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, X'6f6e65'),
  (1002, 'acme.v1.Analyst/Analyze', 9, 1699999001.0, NULL, NULL, NULL, 42, 'named', X'00', '{"result_ttl_s":7200.0}',
   X'637478', X'74776f'),
  (1003, 'acme.v1.Analyst/Analyze', 5, 1699999002.0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, X'7468726565'),
  (1004, 'acme.v1.Analyst/Analyze', 5, 1699999003.0, 2.0, 60.0, 3600.0, NULL, NULL, NULL, NULL, NULL, X'666f7572');
INSERT INTO ends (id, state, attempt, crashes, agent_id, ready_at, started_at, finished_at, expires_at,
                  progress_count, outcome) VALUES
  (1001, 4, 1, 0, 'a', 1699999000.0, 1699999004.0, 1699999005.0, 1700002605.0, 0, X'6f6b'),
  (1002, 5, 2, 1, 'b', 1699999001.0, 1699999006.0, 1699999007.0, 1700604807.0, 1, X'6261640a');
UPDATE live SET attempt = 1, failures = 1, ready_at = 1699999009.0, agent_id = 'a', epoch = 7, reported = 1,
                outcome = X'6f6e6365' WHERE id = 1003;
INSERT INTO progress VALUES (1002, 1, 1, 1, X'726f77');
INSERT INTO agents VALUES ('a', 'instance', 17179869185, 0, 1, X'');
INSERT INTO paused VALUES ('acme.v1.Analyst/Summarize');

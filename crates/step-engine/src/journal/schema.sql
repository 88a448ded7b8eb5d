-- One row per run; what changes while it runs is state, cause, updated_at and recheck_due (milliseconds since 1970).
CREATE TABLE IF NOT EXISTS runs (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id      TEXT    NOT NULL UNIQUE,
    subject     TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    cause       TEXT,
    updated_at  INTEGER NOT NULL,
    recheck_due INTEGER,
    fixed       TEXT    NOT NULL  -- JSON: what never changes (workflow, inputs, settings, options, caller, resources)
) STRICT;
CREATE INDEX IF NOT EXISTS runs_by_subject ON runs (subject, number);
CREATE INDEX IF NOT EXISTS runs_not_over ON runs (number)
    WHERE state IN ('running', 'interrupted', 'compensating', 'stuck') OR recheck_due IS NOT NULL;

-- The run that a caller's request id led to last.
CREATE TABLE IF NOT EXISTS requests (
    caller     TEXT NOT NULL,
    request_id TEXT NOT NULL,
    run_id     TEXT NOT NULL,
    PRIMARY KEY (caller, request_id)
) STRICT;

-- The append-only log. position counts from 1 within a run without a gap.
CREATE TABLE IF NOT EXISTS records (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id   TEXT    NOT NULL,
    position INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    record   TEXT    NOT NULL,
    UNIQUE (run_id, position)
) STRICT;

-- Rises each time a process takes the journal over; checked in every commit.
CREATE TABLE IF NOT EXISTS epoch (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO epoch VALUES (1, 0);

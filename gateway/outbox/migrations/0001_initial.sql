-- The outbox as first shipped. Never edit this file: a change is a new file with the next number.
-- Times are ISO 8601 text in UTC with microseconds, so that text order is time order.

CREATE TABLE epochs (
    epoch TEXT PRIMARY KEY,             -- UUIDv7, minted with the file
    predecessor TEXT,                   -- the epoch that this one follows, where known
    predecessor_last_sequence INTEGER,  -- the last sequence known of it
    created_at TEXT NOT NULL
);

-- Pictures are not stored. Should a setting keep them one day, they get a table of their own, keyed by sequence, so
-- that scans of results stay small and pictures can be evicted before results.
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,  -- gap-free within the epoch, from 1; never given twice
    submission_id TEXT NOT NULL,
    item INTEGER,                                -- index in an array submission, else NULL
    device_id TEXT NOT NULL,
    transport TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    received_at TEXT NOT NULL,
    captured_at TEXT,
    payload_sha256 TEXT NOT NULL,
    payload_bytes INTEGER NOT NULL,
    id_reused INTEGER NOT NULL DEFAULT 0,
    result TEXT NOT NULL,                        -- JSON: the values of a reading, or predictions, model, image, timings_ms
    dead_reason TEXT,
    delivered_at TEXT
);
CREATE INDEX events_by_submission ON events (device_id, submission_id);
CREATE INDEX events_pending ON events (sequence) WHERE state = 'pending';
CREATE INDEX events_dead ON events (sequence) WHERE state = 'dead';
CREATE INDEX events_delivered ON events (delivered_at) WHERE state = 'delivered';

-- What outlives a pruned event: enough to recognise a redelivery and to give the first receipt again.
CREATE TABLE remembered_ids (
    sequence INTEGER PRIMARY KEY,
    submission_id TEXT NOT NULL,
    item INTEGER,
    device_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    received_at TEXT NOT NULL,
    payload_sha256 TEXT NOT NULL,
    id_reused INTEGER NOT NULL,
    result TEXT NOT NULL,
    pruned_at TEXT NOT NULL
);
CREATE INDEX remembered_ids_by_submission ON remembered_ids (device_id, submission_id);
CREATE INDEX remembered_ids_by_time ON remembered_ids (pruned_at);

-- What devices sent and we refused. Bounded: the oldest go.
CREATE TABLE refusals (
    refusal_id INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id TEXT NOT NULL,
    transport TEXT NOT NULL,
    refused_at TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    payload_sha256 TEXT,
    payload_bytes INTEGER
);

-- Sequences that the cloud will not get, and why; a row goes when the cloud has acknowledged it. A wider range is
-- always a new row: an acknowledgement of the narrower one, still under way, must not count for it.
CREATE TABLE tombstones (
    tombstone_id INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch TEXT NOT NULL,
    first_sequence INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX tombstones_by_sequence ON tombstones (first_sequence);

-- Cloud-to-device messages.
CREATE TABLE commands (
    command_id TEXT PRIMARY KEY,
    received_at TEXT NOT NULL,
    body BLOB NOT NULL,
    properties TEXT NOT NULL  -- JSON object
);
CREATE INDEX commands_by_time ON commands (received_at);

-- Payloads that were being worked on when the process crashed.
CREATE TABLE crash_suspects (
    payload_sha256 TEXT PRIMARY KEY,
    crashes INTEGER NOT NULL,
    last_at TEXT NOT NULL
);

-- For people: newest first, in words.
CREATE VIEW recent_results AS
SELECT
    received_at AS time,
    device_id AS device,
    COALESCE(
        (SELECT json_extract(value, '$.label') FROM json_each(result, '$.predictions')
         ORDER BY json_extract(value, '$.probability') DESC LIMIT 1),
        result
    ) AS label,
    CASE kind WHEN 'classification' THEN ROUND(100.0 * (
        SELECT MAX(json_extract(value, '$.probability')) FROM json_each(result, '$.predictions')
    ), 1) END AS probability_percent,
    state,
    sequence,
    submission_id,
    dead_reason
FROM events
ORDER BY sequence DESC;

-- What policies need to know between two events, changed in the transactions that store them.

-- What was sent last of each device, for on_change: the top label, or the values that count.
CREATE TABLE last_sent (
    device_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    essence TEXT NOT NULL,
    sent_age_s REAL NOT NULL,
    PRIMARY KEY (device_id, kind)
) WITHOUT ROWID;
CREATE INDEX last_sent_by_age ON last_sent (sent_age_s);

-- Summaries that are being counted: one window at a time for each device and kind.
CREATE TABLE summary_windows (
    device_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    window_s REAL NOT NULL,
    priority INTEGER NOT NULL,     -- of its last event
    began_age_s REAL NOT NULL,
    first_key INTEGER NOT NULL,
    last_key INTEGER NOT NULL,
    first_moment TEXT NOT NULL,    -- JSON: [received_at, boot, boottime_s, synced], as of an event
    last_moment TEXT NOT NULL,
    tally TEXT NOT NULL,           -- JSON: gateway/summaries.py
    PRIMARY KEY (device_id, kind)
) WITHOUT ROWID;
CREATE INDEX summary_windows_due ON summary_windows (window_s, began_age_s);

-- How many events each policy has held back, and how many summaries were made, since the file was made.
CREATE TABLE policy_counts (
    what TEXT PRIMARY KEY,
    events INTEGER NOT NULL
) WITHOUT ROWID;

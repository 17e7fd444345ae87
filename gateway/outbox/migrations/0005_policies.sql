-- Priorities, times to live, what is held back on purpose, and counts that no longer need counting.

ALTER TABLE events ADD COLUMN priority INTEGER NOT NULL DEFAULT 5;       -- 0 is the highest, as in routes of IoT Edge
ALTER TABLE events ADD COLUMN ttl_s REAL;                                -- NULL: it waits for the cloud for ever
ALTER TABLE events ADD COLUMN received_age_s REAL NOT NULL DEFAULT 0;    -- age at its commit

-- How often each reason and label stands in the range, as JSON; empty reasons: all of it is `reason`.
ALTER TABLE tombstones ADD COLUMN reasons TEXT NOT NULL DEFAULT '';
ALTER TABLE tombstones ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
DROP INDEX tombstones_by_sequence;
CREATE INDEX tombstones_by_sequence ON tombstones (epoch, first_sequence);

-- One row, written with each commit in place of sqlite_sequence: opening and stats read it instead of counting millions.
-- Totals are of the whole epoch: sequence_high = pending + dead + the totals.
CREATE TABLE ledger (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    sequence_high INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    delivered INTEGER NOT NULL,           -- rows that are still in the file
    held_back INTEGER NOT NULL,           -- rows that are still in the file: filtered or summarised
    dead INTEGER NOT NULL,
    remembered INTEGER NOT NULL,
    refusals INTEGER NOT NULL,
    tombstones_pending INTEGER NOT NULL,
    delivered_total INTEGER NOT NULL,
    evicted_total INTEGER NOT NULL,
    expired_total INTEGER NOT NULL,
    filtered_total INTEGER NOT NULL,
    summarised_total INTEGER NOT NULL
);
INSERT INTO ledger
SELECT 1, high, pending, delivered, 0, dead, remembered, refusals, tombstones, high - pending - dead, 0, 0, 0, 0
FROM (
    SELECT
        COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) AS high,
        (SELECT COUNT(*) FROM events WHERE state = 'pending') AS pending,
        (SELECT COUNT(*) FROM events WHERE state = 'delivered') AS delivered,
        (SELECT COUNT(*) FROM events WHERE state = 'dead') AS dead,
        (SELECT COUNT(*) FROM remembered_ids) AS remembered,
        (SELECT COUNT(*) FROM refusals) AS refusals,
        (SELECT COUNT(*) FROM tombstones) AS tombstones
);
DELETE FROM sqlite_sequence WHERE name = 'events';

-- A wider CHECK and no AUTOINCREMENT, without copying the table: neither changes what is stored (SQLite documentation,
-- "ALTER TABLE", section 7, the procedure with writable_schema for changes that don't affect the content).
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = REPLACE(
    REPLACE(sql, 'INTEGER PRIMARY KEY AUTOINCREMENT', 'INTEGER PRIMARY KEY'),
    '(''pending'', ''delivered'', ''dead'')',
    '(''pending'', ''delivered'', ''dead'', ''filtered'', ''summarised'')'
)
WHERE type = 'table' AND name = 'events';
PRAGMA writable_schema = RESET;

DROP INDEX events_pending;
CREATE INDEX events_pending ON events (priority, sequence) WHERE state = 'pending';
DROP INDEX events_delivered;
CREATE INDEX events_settled ON events (delivered_age_s) WHERE state IN ('delivered', 'filtered', 'summarised');
CREATE INDEX events_with_ttl ON events (ttl_s, received_age_s) WHERE state = 'pending' AND ttl_s IS NOT NULL;

-- Clocks. Keeping times no longer hang on the wall clock: an age is the seconds that the machine was powered since this
-- file was made, over all its starts; it never goes back. Rows from before have the age 0.

-- Starts of the machine.
CREATE TABLE boots (
    boot INTEGER PRIMARY KEY,                 -- in order
    boot_id TEXT NOT NULL,                    -- /proc/sys/kernel/random/boot_id
    powered_before_s REAL NOT NULL,           -- the age at its start
    last_boottime_s REAL NOT NULL,            -- the last moment known of it, in seconds since its start
    off_before_s REAL NOT NULL DEFAULT 0,     -- seconds without power before it, where clocks on both sides were right
    written_bytes INTEGER NOT NULL DEFAULT 0  -- what the outbox wrote to the disk during it
);

-- From from_boottime_s of a boot on, true time is offset_s + seconds since its start (Unix time).
CREATE TABLE clock_offsets (
    boot INTEGER NOT NULL,
    from_boottime_s REAL NOT NULL,
    offset_s REAL NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (boot, from_boottime_s)
) WITHOUT ROWID;

ALTER TABLE events ADD COLUMN boot INTEGER;                      -- which start of the machine it came in
ALTER TABLE events ADD COLUMN boottime_s REAL;                   -- seconds since that start
ALTER TABLE events ADD COLUMN synced INTEGER NOT NULL DEFAULT 0; -- 1: received_at is right as it stands
ALTER TABLE events ADD COLUMN delivered_age_s REAL NOT NULL DEFAULT 0;
DROP INDEX events_delivered;
CREATE INDEX events_delivered ON events (delivered_age_s) WHERE state = 'delivered';

ALTER TABLE remembered_ids ADD COLUMN synced INTEGER NOT NULL DEFAULT 0;
ALTER TABLE remembered_ids ADD COLUMN pruned_age_s REAL NOT NULL DEFAULT 0;
DROP INDEX remembered_ids_by_time;
CREATE INDEX remembered_ids_by_age ON remembered_ids (pruned_age_s);

ALTER TABLE commands ADD COLUMN received_age_s REAL NOT NULL DEFAULT 0;
DROP INDEX commands_by_time;
CREATE INDEX commands_by_age ON commands (received_age_s);

ALTER TABLE deliveries ADD COLUMN received_age_s REAL NOT NULL DEFAULT 0;
DROP INDEX deliveries_by_time;
CREATE INDEX deliveries_by_age ON deliveries (received_age_s);

ALTER TABLE crash_suspects ADD COLUMN last_age_s REAL NOT NULL DEFAULT 0;

-- The same for people, with times set right where the start of the machine has an offset.
DROP VIEW recent_results;
CREATE VIEW recent_results AS
SELECT
    CASE WHEN e.synced = 0 AND EXISTS (SELECT 1 FROM clock_offsets AS o WHERE o.boot = e.boot)
        THEN strftime('%Y-%m-%dT%H:%M:%f+00:00', e.boottime_s + COALESCE(
            (SELECT o.offset_s FROM clock_offsets AS o WHERE o.boot = e.boot AND o.from_boottime_s <= e.boottime_s
             ORDER BY o.from_boottime_s DESC LIMIT 1),
            (SELECT o.offset_s FROM clock_offsets AS o WHERE o.boot = e.boot ORDER BY o.from_boottime_s LIMIT 1)
        ), 'unixepoch')
        ELSE e.received_at
    END AS time,
    CASE WHEN e.synced = 1 THEN 'synced'
        WHEN EXISTS (SELECT 1 FROM clock_offsets AS o WHERE o.boot = e.boot) THEN 'corrected'
        ELSE 'unsynced'
    END AS clock,
    e.device_id AS device,
    COALESCE(
        (SELECT json_extract(value, '$.label') FROM json_each(e.result, '$.predictions')
         ORDER BY json_extract(value, '$.probability') DESC LIMIT 1),
        e.result
    ) AS label,
    CASE e.kind WHEN 'classification' THEN ROUND(100.0 * (
        SELECT MAX(json_extract(value, '$.probability')) FROM json_each(e.result, '$.predictions')
    ), 1) END AS probability_percent,
    e.state,
    e.sequence,
    e.submission_id,
    e.dead_reason
FROM events AS e
ORDER BY e.sequence DESC;

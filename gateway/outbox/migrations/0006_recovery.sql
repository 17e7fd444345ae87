-- Recovery of a damaged file. Keys of events go on over all epochs of a site: an epoch's sequences are the keys above
-- its base, counted from 1. What was saved from a damaged file keeps its key, and so its epoch and sequence.
ALTER TABLE epochs ADD COLUMN base INTEGER NOT NULL DEFAULT 0;
-- 1 while a gateway has the file open, on disk before its first commit: with the WAL gone, commits are gone too.
ALTER TABLE epochs ADD COLUMN is_open INTEGER NOT NULL DEFAULT 0;

-- Damaged files that were set aside, and how far taking out what is whole has come.
CREATE TABLE salvages (
    file TEXT PRIMARY KEY,                 -- its name in the data directory
    epoch TEXT NOT NULL,                   -- the epoch it was in
    why TEXT NOT NULL,
    began_at TEXT NOT NULL,
    stage TEXT NOT NULL,                   -- the table that is read now, then 'lost pages', 'tombstones', 'done'
    position INTEGER,                      -- in it: the lowest key read, or the highest page
    rows INTEGER NOT NULL DEFAULT 0,       -- events and ids that were taken out
    damaged INTEGER NOT NULL DEFAULT 0     -- keys that nothing is left of; told by tombstones
);
-- Keys that may have been on pages that can't be read.
CREATE TABLE salvage_holes (
    first_key INTEGER PRIMARY KEY,
    last_key INTEGER NOT NULL
);

-- Events of former epochs that this file began with, pending or dead: sequence_high - base + taken_over =
-- pending + dead + the totals.
ALTER TABLE ledger ADD COLUMN taken_over INTEGER NOT NULL DEFAULT 0;

-- Bundles that were exported to be carried to the cloud by hand: an acknowledgement counts for one of these only.
CREATE TABLE bundles (
    sha256 TEXT PRIMARY KEY,       -- of the bundle's file
    created_at TEXT NOT NULL,
    created_age_s REAL NOT NULL,
    keys TEXT NOT NULL,            -- JSON: [[first, last], ...] of the events in it
    tombstone_ids TEXT NOT NULL,   -- JSON: [id, ...]
    acknowledged_at TEXT
);
CREATE INDEX bundles_by_age ON bundles (created_age_s);

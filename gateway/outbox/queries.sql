-- Every statement of the hot path and of maintenance, by name; gateway/outbox/queries.py loads them.

-- name: insert_event
INSERT INTO events (
    sequence, id_reused, boot, received_age_s, delivered_age_s, state, priority, ttl_s, boottime_s, synced,
    submission_id, item, device_id, transport, kind, received_at, captured_at, payload_sha256, payload_bytes, result
) VALUES (?, ?, ?, ?4, ?4, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: find_submission
SELECT sequence, submission_id, item, device_id, kind, received_at, payload_sha256, id_reused, result, synced
FROM events WHERE device_id = ?1 AND submission_id = ?2
UNION ALL
SELECT sequence, submission_id, item, device_id, kind, received_at, payload_sha256, id_reused, result, synced
FROM remembered_ids WHERE device_id = ?1 AND submission_id = ?2
ORDER BY 1;

-- name: find_delivery
-- The submission that came last under this name of a delivery, if its bytes were the same.
SELECT
    e.sequence, e.submission_id, e.item, e.device_id, e.kind, e.received_at, e.payload_sha256, e.id_reused, e.result,
    e.synced
FROM deliveries AS d JOIN events AS e ON e.device_id = d.device_id AND e.submission_id = d.submission_id
WHERE d.delivery_key = ?1 AND d.payload_sha256 = ?2 AND e.payload_sha256 = ?2
UNION ALL
SELECT
    r.sequence, r.submission_id, r.item, r.device_id, r.kind, r.received_at, r.payload_sha256, r.id_reused, r.result,
    r.synced
FROM deliveries AS d JOIN remembered_ids AS r ON r.device_id = d.device_id AND r.submission_id = d.submission_id
WHERE d.delivery_key = ?1 AND d.payload_sha256 = ?2 AND r.payload_sha256 = ?2
ORDER BY 1;

-- name: remember_delivery
INSERT OR REPLACE INTO deliveries (
    delivery_key, payload_sha256, device_id, submission_id, received_at, received_age_s
) VALUES (?, ?, ?, ?, ?, ?);

-- name: forget_deliveries
DELETE FROM deliveries WHERE delivery_key IN (
    SELECT delivery_key FROM deliveries WHERE received_age_s <= :age_s ORDER BY received_age_s LIMIT :limit
);

-- name: forget_oldest_deliveries
DELETE FROM deliveries WHERE delivery_key IN (
    SELECT delivery_key FROM deliveries ORDER BY received_age_s DESC LIMIT :limit OFFSET :keep
);

-- name: find_item
-- The id as it stands, or (where it ends in /n) the n-th of an array; newest wins. The + keeps the planner from walking
-- all events backwards.
SELECT
    sequence, submission_id, item, device_id, transport, kind, state, received_at, captured_at,
    payload_sha256, payload_bytes, id_reused, result, dead_reason, boot, boottime_s, synced, priority
FROM events
WHERE device_id = :device_id AND submission_id IN (:item_id, :array_id)
    AND ((submission_id = :item_id AND item IS NULL) OR (submission_id = :array_id AND item = :item))
ORDER BY +sequence DESC LIMIT 1;

-- name: select_pending
-- A stretch of events_pending: a page costs the same with ten rows and with ten million.
SELECT
    sequence, submission_id, item, device_id, transport, kind, state, received_at, captured_at,
    payload_sha256, payload_bytes, id_reused, result, dead_reason, boot, boottime_s, synced, priority
FROM events WHERE state = 'pending' AND priority = ? AND sequence > ? AND sequence < ? ORDER BY sequence LIMIT ?;

-- name: select_newest_pending
SELECT
    sequence, submission_id, item, device_id, transport, kind, state, received_at, captured_at,
    payload_sha256, payload_bytes, id_reused, result, dead_reason, boot, boottime_s, synced, priority
FROM events WHERE state = 'pending' AND priority = ? AND sequence > ? AND sequence < ? ORDER BY sequence DESC LIMIT ?;

-- name: select_pending_among
SELECT
    sequence, submission_id, item, device_id, transport, kind, state, received_at, captured_at,
    payload_sha256, payload_bytes, id_reused, result, dead_reason, boot, boottime_s, synced, priority
FROM events NOT INDEXED WHERE sequence IN (SELECT value FROM json_each(?)) AND state = 'pending' ORDER BY sequence;

-- name: select_pending_spans
-- Twenty look-ups in events_pending, however many there are.
SELECT
    value,
    (SELECT MIN(sequence) FROM events WHERE state = 'pending' AND priority = value),
    (SELECT MAX(sequence) FROM events WHERE state = 'pending' AND priority = value)
FROM json_each('[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]');

-- name: select_first_pending
-- The lowest pending sequence of each priority: ten look-ups in a small index, however many there are.
SELECT
    (SELECT MIN(sequence) FROM events WHERE state = 'pending' AND priority = value), value
FROM json_each('[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]');

-- name: select_oldest_pending
SELECT received_at, boot, boottime_s, synced FROM events WHERE sequence = (
    SELECT MIN(first) FROM (
        SELECT (SELECT MIN(sequence) FROM events WHERE state = 'pending' AND priority = value) AS first
        FROM json_each('[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]')
    )
);

-- name: select_oldest_by_priority
SELECT e.priority, e.sequence, e.received_age_s, e.received_at, e.boot, e.boottime_s, e.synced
FROM json_each('[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]') JOIN events AS e
    ON e.sequence = (SELECT MIN(sequence) FROM events WHERE state = 'pending' AND priority = value)
ORDER BY e.priority;

-- name: select_oldest_for_eviction
-- Row by row from the oldest pending one on: between it and the next there is at most what was delivered meanwhile.
SELECT sequence, kind, result FROM events NOT INDEXED WHERE state = 'pending' AND sequence >= ? ORDER BY sequence LIMIT ?;

-- name: select_lowest_for_eviction
SELECT sequence, kind, result FROM events
WHERE state = 'pending' AND priority = (SELECT MAX(priority) FROM events WHERE state = 'pending')
ORDER BY sequence LIMIT ?;

-- name: select_expired
SELECT sequence, kind, result FROM events
WHERE state = 'pending' AND ttl_s IS NOT NULL AND ttl_s = ? AND received_age_s <= ? ORDER BY received_age_s LIMIT ?;

-- name: select_next_ttl
-- The times to live that pending events have, one after the other; there are as many as policies have given.
SELECT MIN(ttl_s) FROM events WHERE state = 'pending' AND ttl_s IS NOT NULL AND ttl_s > ?;

-- name: select_dead_sequences
SELECT sequence FROM events WHERE state = 'dead' AND sequence > ? ORDER BY sequence LIMIT ?;

-- name: select_dead_among
SELECT sequence FROM events WHERE state = 'dead' AND sequence IN (SELECT value FROM json_each(?));

-- name: select_results_between
SELECT kind, result FROM events WHERE sequence BETWEEN ? AND ?;

-- name: select_results_among
SELECT kind, result FROM events WHERE sequence IN (SELECT value FROM json_each(?));

-- name: mark_delivered
-- OR FAIL: without a statement journal, which for hundreds of rows spills into a file of its own on the card. A failure
-- undoes the whole transaction or its savepoint anyway (gateway/outbox/store.py).
UPDATE OR FAIL events SET state = :new, delivered_at = :delivered_at, delivered_age_s = :age_s
WHERE state = :old AND sequence IN (SELECT value FROM json_each(:sequences));

-- name: mark_dead
UPDATE events SET state = :new, dead_reason = :reason WHERE state = :old AND sequence = :sequence;

-- name: requeue
UPDATE events SET state = :new, dead_reason = NULL
WHERE state = :old AND sequence IN (SELECT value FROM json_each(:sequences));

-- name: select_pending_tombstones
SELECT tombstone_id, epoch, first_sequence, last_sequence, reason, reasons, labels
FROM tombstones ORDER BY tombstone_id LIMIT ?;

-- name: select_tombstone_before
-- Ranges of one epoch never overlap, so the one that begins last before a sequence is the one that may end at it.
SELECT tombstone_id, epoch, first_sequence, last_sequence, reason, reasons, labels
FROM tombstones WHERE epoch = ? AND first_sequence < ? ORDER BY first_sequence DESC LIMIT 1;

-- name: select_tombstone_at
SELECT tombstone_id, epoch, first_sequence, last_sequence, reason, reasons, labels
FROM tombstones WHERE epoch = ? AND first_sequence = ?;

-- name: select_overlapping_tombstones
SELECT tombstone_id, epoch, first_sequence, last_sequence, reason, reasons, labels
FROM tombstones
WHERE epoch = :epoch
    AND first_sequence <= :last_sequence AND last_sequence >= :first_sequence;

-- name: insert_tombstone
INSERT INTO tombstones (epoch, first_sequence, last_sequence, reason, reasons, labels) VALUES (?, ?, ?, ?, ?, ?);

-- name: delete_tombstones
DELETE FROM tombstones WHERE tombstone_id IN (SELECT value FROM json_each(?));

-- name: insert_refusal
INSERT INTO refusals (device_id, transport, refused_at, reason, detail, payload_sha256, payload_bytes)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: delete_oldest_refusals
DELETE FROM refusals WHERE refusal_id IN (SELECT refusal_id FROM refusals ORDER BY refusal_id LIMIT ?);

-- name: insert_command
INSERT OR IGNORE INTO commands (command_id, received_at, body, properties, received_age_s) VALUES (?, ?, ?, ?, ?);

-- name: select_waiting_commands
SELECT command_id, received_at, body, properties FROM commands WHERE state = 'waiting' ORDER BY rowid LIMIT ?;

-- name: settle_command
UPDATE commands SET state = ?, outcome_detail = ? WHERE command_id = ? AND state = 'waiting';

-- name: count_crash
INSERT INTO crash_suspects (payload_sha256, crashes, last_at, last_age_s) VALUES (?, 1, ?, ?)
ON CONFLICT (payload_sha256) DO UPDATE SET
    crashes = crashes + 1, last_at = excluded.last_at, last_age_s = excluded.last_age_s;

-- name: select_crash_suspects
SELECT payload_sha256, crashes FROM crash_suspects;

-- name: forget_crash_suspects
DELETE FROM crash_suspects WHERE payload_sha256 NOT IN (
    SELECT payload_sha256 FROM crash_suspects ORDER BY last_age_s DESC LIMIT ?
);

-- name: select_settled
SELECT sequence, LENGTH(CAST(result AS BLOB)) FROM events
WHERE state IN ('delivered', 'filtered', 'summarised') AND delivered_age_s <= ?
ORDER BY delivered_age_s, sequence LIMIT ?;

-- name: count_delivered_among
SELECT COUNT(*) FROM events WHERE state = 'delivered' AND sequence IN (SELECT value FROM json_each(?));

-- name: remember_ids
INSERT INTO remembered_ids (
    sequence, submission_id, item, device_id, kind, received_at, payload_sha256, id_reused, result, synced,
    pruned_at, pruned_age_s
)
SELECT
    sequence, submission_id, item, device_id, kind, received_at, payload_sha256, id_reused, result, synced,
    :now, :age_s
FROM events WHERE sequence IN (SELECT value FROM json_each(:sequences));

-- name: delete_events
DELETE FROM events WHERE sequence IN (SELECT value FROM json_each(:sequences));

-- name: forget_ids
DELETE FROM remembered_ids WHERE sequence IN (
    SELECT sequence FROM remembered_ids WHERE pruned_age_s <= :age_s ORDER BY pruned_age_s LIMIT :limit
);

-- name: forget_commands
DELETE FROM commands WHERE command_id IN (
    SELECT command_id FROM commands WHERE received_age_s <= :age_s LIMIT :limit
);

-- name: forget_oldest_commands
DELETE FROM commands WHERE command_id IN (
    SELECT command_id FROM commands ORDER BY received_age_s DESC LIMIT :limit OFFSET :keep
);

-- name: select_epochs
SELECT epoch, predecessor, predecessor_last_sequence, base FROM epochs ORDER BY base;

-- name: select_is_open
SELECT is_open FROM epochs ORDER BY base DESC LIMIT 1;

-- name: set_is_open
UPDATE epochs SET is_open = ?;

-- name: begin_ledger
-- A new epoch in the same file: what waits is taken over, the totals begin anew.
UPDATE ledger SET
    taken_over = pending + dead, delivered_total = 0, evicted_total = 0, expired_total = 0, filtered_total = 0,
    summarised_total = 0;

-- name: insert_epoch
INSERT INTO epochs (epoch, predecessor, predecessor_last_sequence, base, created_at) VALUES (?, ?, ?, ?, ?);

-- name: select_ledger
SELECT
    sequence_high, pending, delivered, held_back, dead, remembered, refusals, tombstones_pending,
    delivered_total, evicted_total, expired_total, filtered_total, summarised_total,
    taken_over
FROM ledger;

-- name: save_ledger
UPDATE ledger SET
    sequence_high = :sequence_high, pending = :pending, delivered = :delivered, held_back = :held_back, dead = :dead,
    remembered = :remembered, refusals = :refusals, tombstones_pending = :tombstones_pending,
    delivered_total = :delivered_total, evicted_total = :evicted_total, expired_total = :expired_total,
    filtered_total = :filtered_total, summarised_total = :summarised_total, taken_over = :taken_over;

-- name: insert_bundle
INSERT OR REPLACE INTO bundles (sha256, created_at, created_age_s, keys, tombstone_ids) VALUES (?, ?, ?, ?, ?);

-- name: forget_bundles
DELETE FROM bundles WHERE sha256 IN (SELECT sha256 FROM bundles ORDER BY created_age_s DESC LIMIT 100 OFFSET ?);

-- name: select_bundle
SELECT keys, tombstone_ids FROM bundles WHERE sha256 = ?;

-- name: acknowledge_bundle
UPDATE bundles SET acknowledged_at = COALESCE(acknowledged_at, ?) WHERE sha256 = ?;

-- name: select_pending_in_ranges
SELECT e.sequence FROM json_each(:keys) CROSS JOIN events AS e NOT INDEXED
WHERE e.sequence BETWEEN MAX(json_extract(value, '$[0]'), :after + 1) AND json_extract(value, '$[1]')
    AND e.state = 'pending'
ORDER BY key, e.sequence LIMIT :limit;

-- name: select_pending_page
SELECT
    sequence, submission_id, item, device_id, transport, kind, state, received_at, captured_at,
    payload_sha256, payload_bytes, id_reused, result, dead_reason, boot, boottime_s, synced, priority
FROM events NOT INDEXED WHERE state = 'pending' AND sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?;

-- name: select_boots
SELECT boot, boot_id, powered_before_s, last_boottime_s, off_before_s FROM boots ORDER BY boot;

-- name: select_clock_offsets
SELECT boot, from_boottime_s, offset_s, source FROM clock_offsets ORDER BY boot, from_boottime_s;

-- name: select_last_event_moment
SELECT boot, boottime_s FROM events WHERE sequence = (SELECT MAX(sequence) FROM events);

-- name: save_boot
INSERT INTO boots (boot, boot_id, powered_before_s, last_boottime_s, off_before_s) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (boot) DO UPDATE SET
    last_boottime_s = MAX(last_boottime_s, excluded.last_boottime_s), off_before_s = excluded.off_before_s;

-- name: forget_offsets
DELETE FROM clock_offsets WHERE boot = ?;

-- name: insert_clock_offset
INSERT INTO clock_offsets (boot, from_boottime_s, offset_s, source) VALUES (?, ?, ?, ?);

-- name: forget_boots
DELETE FROM boots WHERE boot <= ?;

-- name: forget_clock_offsets
DELETE FROM clock_offsets WHERE boot <= ?;

-- name: keep_time
UPDATE boots SET last_boottime_s = MAX(last_boottime_s, :boottime_s), written_bytes = written_bytes + :written
WHERE boot = :boot;

-- name: select_written_bytes
SELECT COALESCE(SUM(written_bytes), 0) FROM boots;


-- name: select_last_sent
SELECT essence, sent_age_s FROM last_sent WHERE device_id = ? AND kind = ?;

-- name: save_last_sent
INSERT OR REPLACE INTO last_sent (device_id, kind, essence, sent_age_s) VALUES (?, ?, ?, ?);

-- name: forget_last_sent
DELETE FROM last_sent WHERE (device_id, kind) IN (
    SELECT device_id, kind FROM last_sent ORDER BY sent_age_s DESC LIMIT :limit OFFSET :keep
);

-- name: select_window
SELECT device_id, kind, window_s, priority, began_age_s, first_key, last_key, first_moment, last_moment, tally
FROM summary_windows WHERE device_id = ? AND kind = ?;

-- name: save_window
INSERT OR REPLACE INTO summary_windows (
    device_id, kind, window_s, priority, began_age_s, first_key, last_key, first_moment, last_moment, tally
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: delete_window
DELETE FROM summary_windows WHERE device_id = ? AND kind = ?;

-- name: select_next_window_length
SELECT MIN(window_s) FROM summary_windows WHERE window_s > ?;

-- name: select_due_windows
SELECT device_id, kind, window_s, priority, began_age_s, first_key, last_key, first_moment, last_moment, tally
FROM summary_windows WHERE window_s = ? AND began_age_s <= ? ORDER BY began_age_s LIMIT ?;

-- name: has_windows
SELECT EXISTS (SELECT 1 FROM summary_windows);

-- name: count_for_policy
INSERT INTO policy_counts (what, events) VALUES (?, ?)
ON CONFLICT (what) DO UPDATE SET events = events + excluded.events;

-- name: select_policy_counts
SELECT what, events FROM policy_counts;

-- name: count_windows
SELECT COUNT(*) FROM summary_windows;

-- For devices that give no ids: the last submission that came under a transport's own name of a delivery (MQTT: client,
-- session, packet id, topic). A row is replaced when the name is used again, so the table is bounded by the packet ids.
CREATE TABLE deliveries (
    delivery_key TEXT PRIMARY KEY,
    payload_sha256 TEXT NOT NULL,
    device_id TEXT NOT NULL,
    submission_id TEXT NOT NULL,
    received_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX deliveries_by_time ON deliveries (received_at);

-- Cloud-to-device messages get an outcome. Those kept so far were never carried out and are too old to be now.
ALTER TABLE commands ADD COLUMN state TEXT NOT NULL DEFAULT 'waiting';
ALTER TABLE commands ADD COLUMN outcome_detail TEXT NOT NULL DEFAULT '';
UPDATE commands SET state = 'expired', outcome_detail = 'kept by an earlier version, which could not carry it out';
CREATE INDEX commands_waiting ON commands (received_at) WHERE state = 'waiting';

"""The outbox: one SQLite file that every accepted event is in before its acknowledgement leaves."""

-- A durable store of version 2 (its PRAGMA user_version) as a weir that knows version 1 wants it.
-- Stop the server with SIGTERM, copy the file, see that there is no jobs.db-more, then:
--
--     sqlite3 weir-data/jobs.db < doc/down-2-to-1.sql
--
-- Lost are what version 1 has no place for: jobs' histories, and the durability of queues (all are
-- fsync then). All or nothing: on any other file it fails and changes nothing.
.bail on
BEGIN IMMEDIATE;
ALTER TABLE change DROP COLUMN history;
ALTER TABLE queue DROP COLUMN durability;
PRAGMA user_version = 1;
COMMIT;

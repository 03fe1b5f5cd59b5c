-- A position alone does not tell which history of the log was folded: after the log was restored from
-- a backup, or failed over to a replica that was behind, other events stand at the same positions.
-- None where the position was not reached by folding (0, say, or by an older build).
ALTER TABLE operations.checkpoints
    ADD COLUMN digest bytea CHECK (octet_length(digest) = 32);

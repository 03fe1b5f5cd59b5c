-- The keys of access tokens are wrapped by the master key, as all keys are. Those from before are
-- wrapped when they are next read; until then they have no master key.
ALTER TABLE credentials.signing_keys ADD COLUMN master_key text COLLATE "C";

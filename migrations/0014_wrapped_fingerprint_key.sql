-- Who was erased can be found by nothing in the database alone (L8, ADR-0027).

-- The key of fingerprints and claims is wrapped by the master key, as all keys are. One from before is
-- wrapped when it is next read, and has no master key until then. One that nothing was made with is
-- not needed: the first process makes another, of which the plain text is never here.
ALTER TABLE credentials.fingerprint_key
    DROP CONSTRAINT fingerprint_key_key_check,
    ADD COLUMN master_key text COLLATE "C";
DELETE FROM credentials.fingerprint_key
 WHERE NOT EXISTS (SELECT FROM log.events) AND NOT EXISTS (SELECT FROM log.claims);
GRANT INSERT, UPDATE (key, master_key) ON credentials.fingerprint_key TO touchline_app;

-- A claim without an owner is held for good: the handle of somebody erased.
ALTER TABLE log.claims ALTER COLUMN owner DROP NOT NULL;
GRANT UPDATE (owner) ON log.claims TO touchline_app;
UPDATE log.claims SET owner = NULL
 WHERE claims.scope = 'identity.handle'
   AND EXISTS (SELECT FROM log.events
               WHERE events.aggregate_type = 'account' AND events.aggregate_id = claims.owner
                 AND events.event_type = 'identity.account_erased');

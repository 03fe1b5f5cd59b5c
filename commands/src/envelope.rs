//! What comes with every command, whatever it asks for.

use std::collections::BTreeMap;
use touchline_domain::clock::Timestamp;
use touchline_domain::id::{CommandId, UserId};
use uuid::Uuid;

/// Who asks, when, under which id, and caused by what.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The command; it is applied at most once (L5).
    pub command_id: CommandId,
    /// Whether the caller chose the id and may send the command again under it. A command that was
    /// not keyed has a new id each time and cannot be a repetition.
    pub keyed: bool,
    /// What the command asks for, hashed by [`Fingerprints`](crate::Fingerprints): the same id with
    /// another fingerprint is refused.
    pub fingerprint: [u8; 32],
    /// Who asks; none for the operator, and for somebody who is not signed in.
    pub actor: Option<UserId>,
    /// What binds together everything that one request set in motion.
    pub correlation_id: Uuid,
    /// The event that made a policy send this command; none for a command that a person sent.
    pub causation_id: Option<Uuid>,
    /// Now, for everything that is decided.
    pub at: Timestamp,
}

impl Envelope {
    /// What is stored with each event that the command makes happen, beside its id.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let always = [("correlation_id", self.correlation_id.to_string())];
        let sometimes = [
            ("actor", self.actor.map(|actor| actor.to_string())),
            ("causation_id", self.causation_id.map(|id| id.to_string())),
        ];
        always
            .into_iter()
            .chain(
                sometimes
                    .into_iter()
                    .filter_map(|(key, value)| Some((key, value?))),
            )
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

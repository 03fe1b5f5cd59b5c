//! What makes a message of the stream LOG believable: an HMAC that only the relay can make.

use crate::anchor::Anchor;
use crate::keys::MasterKeys;
use aws_lc_rs::hmac;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// Authenticates the messages of one log's stream. Cheap to clone.
///
/// The HMAC-SHA256 of a message is over 88 bytes: the log's id (16), the position (8, big-endian),
/// the event's digest (32), and the digest of the event before it (32; zeros for the first). So a
/// message of another log, of another place, or of a history that the log has lost, does not pass
/// for the next one. Its key is derived from a master key by HKDF-SHA256 (RFC 5869) with the info
/// `MasterKeys::MESSAGES` (ADR-0020).
#[derive(Clone)]
pub struct Authenticator {
    log_id: Uuid,
    masters: Arc<MasterKeys>,
}

impl Authenticator {
    /// Authenticates the messages of the log `log_id`: new ones under the current master key, and none
    /// is believed but under one of `masters`.
    #[must_use]
    pub const fn new(log_id: Uuid, masters: Arc<MasterKeys>) -> Self {
        Self { log_id, masters }
    }

    /// The log whose messages these are.
    #[must_use]
    pub const fn log_id(&self) -> Uuid {
        self.log_id
    }

    /// The id of the master key that new messages are authenticated under.
    pub(crate) fn key_id(&self) -> &str {
        self.masters.current().id()
    }

    /// The HMAC of the event at `anchor`, which follows `before`; 64 hexadecimal digits.
    pub(crate) fn tag(&self, before: Anchor, anchor: Anchor) -> String {
        let tag = hmac::sign(
            self.masters.current().messages(),
            &self.text(before, anchor),
        );
        hex::encode(tag)
    }

    /// Whether one of the master keys gives the event at `anchor`, which follows `before`, this HMAC.
    pub(crate) fn verifies(&self, before: Anchor, anchor: Anchor, tag: &str) -> bool {
        let Ok(tag) = hex::decode(tag) else {
            return false;
        };
        let text = self.text(before, anchor);
        self.masters
            .all()
            .any(|master| hmac::verify(master.messages(), &text, &tag).is_ok())
    }

    fn text(&self, before: Anchor, anchor: Anchor) -> Vec<u8> {
        [
            self.log_id.as_bytes().as_slice(),
            &anchor.position.get().to_be_bytes(),
            anchor.digest.as_bytes(),
            before.digest.as_bytes(),
        ]
        .concat()
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authenticator({} of {})", self.key_id(), self.log_id)
    }
}

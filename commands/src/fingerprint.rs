//! Command ids and fingerprints of requests, made under a secret key.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;
use touchline_domain::id::CommandId;
use uuid::Builder;

/// Makes command ids and fingerprints. The same parts give the same answer in every process that
/// has the same key ([`Credentials::fingerprints`](crate::Credentials::fingerprints)).
#[derive(Clone)]
pub struct Fingerprints {
    keyed: Hmac<Sha256>,
}

impl Fingerprints {
    /// Fingerprints under `key`.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        // HMAC fills a key that is shorter than a block up with zeros; so does this.
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        Self {
            keyed: Hmac::new(&block),
        }
    }

    /// The fingerprint of what a command asks for: of its kind, and of its body in a canonical form.
    /// Where one part ends and the next begins makes a difference.
    #[must_use]
    pub fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.digest("fingerprint", parts)
    }

    /// The id of the command that a principal sends by a route under a key of their choice. Nobody
    /// else can find a request with the same id.
    #[must_use]
    pub fn command_id(&self, parts: &[&[u8]]) -> CommandId {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(self.digest("command id", parts)) {
            *to = from;
        }
        CommandId::new(Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Under which a claim stands in the log: it can be looked up by whoever knows what is claimed,
    /// and tells nothing to whoever does not.
    #[must_use]
    pub fn claim(&self, scope: &str, key: &str) -> String {
        hex::encode(self.digest("claim", &[scope.as_bytes(), key.as_bytes()]))
    }

    fn digest(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        for part in [purpose.as_bytes()].iter().chain(parts) {
            // Lengths fit into 64 bits on every machine there is.
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            mac.update(&length.to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprints(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_depends_on_key_purpose_and_every_part() {
        let ours = Fingerprints::new(&[7; 32]);
        let same = Fingerprints::new(&[7; 32]);
        assert_eq!(ours.of(&[b"a", b"b"]), same.of(&[b"a", b"b"]));
        assert_eq!(ours.command_id(&[b"a"]), same.command_id(&[b"a"]));
        for other in [
            ours.of(&[b"ab"]),
            ours.of(&[b"ab", b""]),
            ours.of(&[b"b", b"a"]),
            Fingerprints::new(&[8; 32]).of(&[b"a", b"b"]),
        ] {
            assert_ne!(ours.of(&[b"a", b"b"]), other);
        }
        let id = ours.command_id(&[b"a"]).uuid();
        assert_ne!(ours.claim("a", "bc"), ours.claim("ab", "c"));
        assert_eq!(id.get_version_num(), 8);
        assert_ne!(id.as_bytes()[..4], ours.of(&[b"a"])[..4]);
        assert_eq!(format!("{ours:?}"), "Fingerprints(secret)");
    }

    /// RFC 4231, test case 2 in spirit: the digest is plain HMAC-SHA256 of the length-framed parts.
    #[test]
    fn the_digest_is_hmac_sha_256() {
        let key = [1; 32];
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(&11_u64.to_be_bytes());
        mac.update(b"fingerprint");
        mac.update(&1_u64.to_be_bytes());
        mac.update(b"x");
        let expected: [u8; 32] = mac.finalize().into_bytes().into();
        assert_eq!(Fingerprints::new(&key).of(&[b"x"]), expected);
    }
}

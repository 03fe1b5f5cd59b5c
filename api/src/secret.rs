//! Texts that clients carry and cannot change.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How many bytes of a seal are kept: 128 bits, which nobody guesses.
const SEAL_BYTES: usize = 16;

/// Seals under one key.
#[derive(Clone)]
pub(crate) struct Sealer([u8; 32]);

impl Sealer {
    /// Seals under `key`.
    pub(crate) const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// `payload` as an opaque text that is good for `scope` only and cannot be changed.
    pub(crate) fn seal(&self, scope: &str, payload: &[u8]) -> String {
        let tag = self.mac(scope, payload).finalize().into_bytes();
        let mut sealed: Vec<u8> = tag.into_iter().take(SEAL_BYTES).collect();
        sealed.extend_from_slice(payload);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// The payload of a text that [`Sealer::seal`] made for this scope; none for any other.
    pub(crate) fn open(&self, scope: &str, text: &str) -> Option<Vec<u8>> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (tag, payload) = sealed.split_at_checked(SEAL_BYTES)?;
        self.mac(scope, payload).verify_truncated_left(tag).ok()?;
        Some(payload.to_vec())
    }

    /// The length of the scope is hashed before it, so that its end is not taken for payload.
    fn mac(&self, scope: &str, payload: &[u8]) -> Hmac<Sha256> {
        // HMAC fills a key that is shorter than a block up with zeros (RFC 2104); so does this.
        let mut block = [0; 64];
        for (to, from) in block.iter_mut().zip(self.0) {
            *to = from;
        }
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(&u64::try_from(scope.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(scope.as_bytes());
        mac.update(payload);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_opens_for_its_scope_and_key_only() {
        let key = Sealer::new([7; 32]);
        let text = key.seal("/v1/feed", b"payload");
        assert_eq!(key.open("/v1/feed", &text).unwrap(), b"payload");
        assert_eq!(key.open("/v1/other", &text), None);
        assert_eq!(Sealer::new([8; 32]).open("/v1/feed", &text), None);
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(
                key.open("/v1/feed", &changed)
                    .is_none_or(|payload| payload == b"payload")
            );
        }
        for junk in ["", "A", "!!!", "AAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(key.open("/v1/feed", junk), None, "{junk}");
        }
    }

    #[test]
    fn the_end_of_the_scope_is_not_payload() {
        let key = Sealer::new([7; 32]);
        let text = key.seal("ab", b"c");
        let other = key.seal("a", b"bc");
        assert_ne!(text[..20], other[..20]);
    }
}

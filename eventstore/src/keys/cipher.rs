//! AES-256-GCM with random nonces.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;

/// The bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;

/// A key, ready to seal and open. A person has few fields compared with the 2³² messages that one
/// key may seal under random nonces.
pub(crate) struct Cipher(LessSafeKey);

impl Cipher {
    /// The cipher of a key; none when it does not have [`KEY_BYTES`].
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(Self(LessSafeKey::new(key)))
    }

    /// A new key; none when the machine gives no random bytes.
    pub(crate) fn generate() -> Option<[u8; KEY_BYTES]> {
        let mut key = [0; KEY_BYTES];
        rand::fill(&mut key).ok()?;
        Some(key)
    }

    /// Nonce, ciphertext and tag of `plain`; none when the machine gives no random bytes.
    pub(crate) fn seal(&self, place: &str, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut body = plain.to_vec();
        let aad = Aad::from(place.as_bytes());
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(nonce_used, aad, &mut body)
            .ok()?;
        Some([nonce.as_slice(), &body].concat())
    }

    /// What was sealed for `place`; none when it was not, or under another key.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let aad = Aad::from(place.as_bytes());
        let plain = self.0.open_in_place(nonce, aad, &mut body).ok()?.len();
        body.truncate(plain);
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_under_its_key_only() {
        let key = Cipher::generate().unwrap();
        let cipher = Cipher::new(&key).unwrap();
        let sealed = cipher.seal("here", b"Ana").unwrap();
        assert_eq!(cipher.open("here", &sealed).unwrap(), b"Ana");
        assert_ne!(cipher.seal("here", b"Ana").unwrap(), sealed);
        assert!(cipher.open("there", &sealed).is_none());
        let other = Cipher::new(&Cipher::generate().unwrap()).unwrap();
        assert!(other.open("here", &sealed).is_none());
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert!(cipher.open("here", &changed).is_none(), "byte {byte}");
        }
        assert!(cipher.open("here", &sealed[..8]).is_none());
        assert!(Cipher::new(&[0; 31]).is_none());
    }

    /// Case 16 of the test vectors in the specification of GCM.
    #[test]
    fn the_cipher_is_aes_256_gcm() {
        let bytes = |text: &str| hex::decode(text).unwrap();
        let key = bytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let nonce = bytes("cafebabefacedbaddecaf888");
        let aad = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plain = bytes(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let sealed = bytes(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
        );
        let mut body = plain;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&nonce).unwrap();
        key.seal_in_place_append_tag(nonce, Aad::from(&aad), &mut body)
            .unwrap();
        assert_eq!(body, sealed);
    }
}

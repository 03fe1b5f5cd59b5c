//! Signed notes (C2SP signed-note) and the checkpoints in them (C2SP tlog-checkpoint).
//!
//! A note is a text, an empty line, and a line for each signature:
//!
//! ```text
//! touchline/0193…
//! 1281
//! <root hash, base64>
//!
//! — touchline/0193… <first 4 bytes of the key's hash, then the signature, base64>
//! ```

use crate::event::Digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use uuid::Uuid;

/// What C2SP signed-note calls the kinds of keys: Ed25519, and an Ed25519 cosigner.
const SIGNER_KIND: u8 = 1;
pub(super) const COSIGNER_KIND: u8 = 4;
/// The most signature lines of a note that are looked at.
const SIGNATURES_MAX: usize = 16;

/// A text that is no verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a verifier key has the form name+hash+key (C2SP signed-note), with an Ed25519 key")]
pub struct KeyError;

/// Why a note cannot be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoteError {
    /// It does not have the form of a note.
    #[error("it is no signed note")]
    Form,
    /// No signature in it claims to be by the key.
    #[error("it is not signed by the key")]
    OtherKey,
    /// The signature that claims to be by the key is not.
    #[error("its signature is forged, or it was changed after it was signed")]
    Forged,
    /// The signed text is no checkpoint.
    #[error("what is signed is no checkpoint")]
    NoCheckpoint,
    /// It is a checkpoint of another log.
    #[error("it is a checkpoint of another log")]
    OtherLog,
}

/// The public half of an Ed25519 key, with the name that it signs under. As text it is the verifier key
/// of C2SP signed-note: `name+hash+key`. `KIND` is what it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey<const KIND: u8> {
    name: String,
    public: [u8; 32],
}

/// The public half of a key that signs notes.
pub type VerifierKey = PublicKey<SIGNER_KIND>;

impl<const KIND: u8> PublicKey<KIND> {
    /// The key with this name. None when the name is empty or has white space or a plus sign.
    #[must_use]
    pub fn new(name: &str, public: [u8; 32]) -> Option<Self> {
        let fits = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+');
        fits.then(|| Self {
            name: name.to_owned(),
            public,
        })
    }

    /// The name that it signs under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ed25519 public key.
    #[must_use]
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The first 4 bytes of SHA-256 over name, line feed, kind and key: they tell the keys of one name
    /// apart.
    pub(super) fn hash(&self) -> [u8; 4] {
        let mut hash = Sha256::new();
        hash.update(self.name.as_bytes());
        hash.update([b'\n', KIND]);
        hash.update(self.public);
        let [a, b, c, d, ..]: [u8; 32] = hash.finalize().into();
        [a, b, c, d]
    }

    /// The signature by this key among these signature lines, whatever it is worth, with its line. None
    /// when there is none.
    ///
    /// # Errors
    /// [`NoteError::Form`] when a line is none.
    pub(super) fn among<'a>(
        &self,
        lines: &'a str,
    ) -> Result<Option<(&'a str, Vec<u8>)>, NoteError> {
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Form)?;
        let mine = self.hash();
        for line in lines.split('\n').take(SIGNATURES_MAX) {
            let signature = line.strip_prefix("— ").ok_or(NoteError::Form)?;
            let (name, signature) = signature.split_once(' ').ok_or(NoteError::Form)?;
            let mut bytes = BASE64_STANDARD
                .decode(signature)
                .map_err(|_malformed| NoteError::Form)?;
            let signature = bytes.split_off(bytes.len().min(4));
            if name == self.name && bytes == mine {
                return Ok(Some((line, signature)));
            }
        }
        Ok(None)
    }

    /// Whether the key has signed this message.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), NoteError> {
        UnparsedPublicKey::new(&ED25519, &self.public)
            .verify(message, signature)
            .map_err(|_unspecified| NoteError::Forged)
    }
}

impl VerifierKey {
    /// The text of a note that this key has signed, its last line feed included.
    ///
    /// # Errors
    /// [`NoteError`] when it has not.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = split(note).ok_or(NoteError::Form)?;
        let (_, signature) = self.among(signatures)?.ok_or(NoteError::OtherKey)?;
        self.verify(text.as_bytes(), &signature)?;
        Ok(text)
    }

    /// The checkpoint in a note that this key has signed. The key of a log has the log's name.
    ///
    /// # Errors
    /// [`NoteError`] when the note is not signed by the key, or not over a checkpoint of its log.
    pub fn open_checkpoint(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let checkpoint = Checkpoint::parse(self.open(note)?).ok_or(NoteError::NoCheckpoint)?;
        if checkpoint.origin == self.name {
            Ok(checkpoint)
        } else {
            Err(NoteError::OtherLog)
        }
    }
}

/// The text of a note, its last line feed included, and its signature lines. None when it is no note.
#[must_use]
pub fn split(note: &str) -> Option<(&str, &str)> {
    let (text, signatures) = note.rsplit_once("\n\n")?;
    // The text ends with the first of the two line feeds.
    Some((note.get(..=text.len())?, signatures))
}

impl<const KIND: u8> fmt::Display for PublicKey<KIND> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![KIND];
        key.extend_from_slice(&self.public);
        write!(
            f,
            "{}+{}+{}",
            self.name,
            hex::encode(self.hash()),
            BASE64_STANDARD.encode(key)
        )
    }
}

impl<const KIND: u8> FromStr for PublicKey<KIND> {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.trim_end().splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError);
        };
        let key = BASE64_STANDARD.decode(key).map_err(|_malformed| KeyError)?;
        let (kind, public) = key.split_first().ok_or(KeyError)?;
        let public = public.try_into().map_err(|_length| KeyError)?;
        let this = Self::new(name, public).ok_or(KeyError)?;
        if *kind == KIND && hash == hex::encode(this.hash()) {
            Ok(this)
        } else {
            Err(KeyError)
        }
    }
}

/// A key that signs. Its secret half is a seed of 32 bytes (RFC 8032).
pub struct SigningKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl SigningKey {
    /// The key with this name and seed. None when the name cannot be one.
    #[must_use]
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some(Self {
            pair,
            verifier: VerifierKey::new(name, public)?,
        })
    }

    /// Its public half.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The note over `text`, which ends with a line feed.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let mut signature = self.verifier.hash().to_vec();
        signature.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        format!(
            "{text}\n— {} {}\n",
            self.verifier.name,
            BASE64_STANDARD.encode(signature)
        )
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.verifier).finish()
    }
}

/// What is signed: a log had this root when it had this many events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the log; see [`origin`].
    pub origin: String,
    /// How many events the tree is over: the position of the last of them.
    pub size: u64,
    /// The root of the tree.
    pub root: Digest,
}

/// The name of a log in its checkpoints and in its key.
#[must_use]
pub fn origin(log_id: Uuid) -> String {
    format!("touchline/{log_id}")
}

impl Checkpoint {
    /// The text that is signed: three lines, for origin, size and root.
    #[must_use]
    pub fn text(&self) -> String {
        let root = BASE64_STANDARD.encode(self.root.as_bytes());
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// The checkpoint of a text. Lines that an extension adds after the root are passed over. None
    /// when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let canonical = !origin.is_empty()
            && size.bytes().all(|byte| byte.is_ascii_digit())
            && (size == "0" || !size.starts_with('0'));
        if !canonical || lines.any(str::is_empty) {
            return None;
        }
        let root = BASE64_STANDARD.decode(root).ok()?;
        Some(Self {
            origin: origin.to_owned(),
            size: size.parse().ok()?,
            root: Digest::new(root.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::tree::leaf_hash;

    /// The example of C2SP signed-note.
    const SPEC_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const SPEC_NOTE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    /// The example in the documentation of Go's package note: its key, and the seed within its
    /// signing key.
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_SEED: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const GO_TEXT: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const GO_SIGNATURE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn log_key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&origin(Uuid::from_u128(7)), &[seed; 32]).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: origin(Uuid::from_u128(7)),
            size: 1281,
            root: leaf_hash(b"root"),
        }
    }

    #[test]
    fn the_examples_of_others_are_read_and_written() {
        let key: VerifierKey = SPEC_KEY.parse().unwrap();
        assert_eq!(key.to_string(), SPEC_KEY);
        assert_eq!(key.name(), "example.com/foo");
        assert_eq!(key.open(SPEC_NOTE), Ok("This is an example message.\n"));

        let seed = BASE64_STANDARD.decode(GO_SEED).unwrap();
        let seed = seed.split_first().unwrap().1.try_into().unwrap();
        let key = SigningKey::from_seed("PeterNeumann", seed).unwrap();
        assert_eq!(key.verifier().to_string(), GO_KEY);
        assert_eq!(key.sign(GO_TEXT), format!("{GO_TEXT}\n{GO_SIGNATURE}"));
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_was_signed() {
        let key = log_key(1);
        let note = key.sign(&checkpoint().text());
        assert_eq!(key.verifier().open_checkpoint(&note), Ok(checkpoint()));
        // Another signature, such as a witness adds, changes nothing, wherever it stands.
        let witnessed = format!("{note}{GO_SIGNATURE}");
        assert_eq!(key.verifier().open_checkpoint(&witnessed), Ok(checkpoint()));
    }

    #[test]
    fn what_was_not_signed_is_refused() {
        let (key, other) = (log_key(1), log_key(2));
        let note = key.sign(&checkpoint().text());
        let open = |note: &str| key.verifier().open_checkpoint(note).unwrap_err();
        assert_eq!(open(&other.sign(&checkpoint().text())), NoteError::OtherKey);
        assert_eq!(open(&note.replacen("1281", "1282", 1)), NoteError::Forged);
        let tampered = note.replacen("\n— ", "\nmore\n\n— ", 1);
        assert_eq!(open(&tampered), NoteError::Forged);
        assert_eq!(open(&key.sign("no checkpoint\n")), NoteError::NoCheckpoint);
        let elsewhere = Checkpoint {
            origin: "touchline/elsewhere".to_owned(),
            ..checkpoint()
        };
        assert_eq!(open(&key.sign(&elsewhere.text())), NoteError::OtherLog);
        for cut in 0..note.len() {
            if let Some(cut) = note.get(..cut) {
                assert!(key.verifier().open(cut).is_err(), "{cut:?}");
            }
        }
    }

    #[test]
    fn only_one_text_is_a_checkpoint() {
        let root = BASE64_STANDARD.encode(checkpoint().root.as_bytes());
        let parse = |text: &str| Checkpoint::parse(text);
        assert_eq!(parse(&checkpoint().text()), Some(checkpoint()));
        assert!(parse(&format!("{}extension\n", checkpoint().text())).is_some());
        for wrong in [
            String::new(),
            format!("log\n1\n{root}"),
            format!("\n1\n{root}\n"),
            format!("log\n01\n{root}\n"),
            format!("log\n+1\n{root}\n"),
            format!("log\n\n{root}\n"),
            "log\n1\nAAAA\n".to_owned(),
            format!("log\n1\n{root}\n\n"),
        ] {
            assert_eq!(parse(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        for wrong in [
            "",
            "name",
            "name+530d903a",
            "na me+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+AekyeRrm",
        ] {
            assert_eq!(wrong.parse::<VerifierKey>(), Err(KeyError), "{wrong}");
        }
    }
}

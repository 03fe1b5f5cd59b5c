//! Cosignatures (C2SP tlog-cosignature): a witness says at what time it saw a checkpoint, and that it
//! goes on from what it saw before. Of the two kinds that there are, Ed25519 (type 4) is read and made;
//! others are passed over.

use super::note::{COSIGNER_KIND, NoteError, PublicKey};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use std::fmt;

/// The public half of a witness's key.
pub type WitnessKey = PublicKey<COSIGNER_KIND>;

/// A cosignature that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// When, as the witness's clock had it.
    pub at: DateTime<Utc>,
    /// The line of the note, without its line feed.
    pub line: String,
}

impl WitnessKey {
    /// The cosignature of this witness among these signature lines, over the body of a checkpoint. None
    /// when there is none.
    ///
    /// # Errors
    /// [`NoteError::Forged`] when there is one that does not hold, [`NoteError::Form`] when a line is none.
    pub fn find(&self, body: &str, lines: &str) -> Result<Option<Cosignature>, NoteError> {
        let Some((line, bytes)) = self.among(lines)? else {
            return Ok(None);
        };
        let (timestamp, signature) = bytes.split_first_chunk::<8>().ok_or(NoteError::Forged)?;
        let timestamp = u64::from_be_bytes(*timestamp);
        self.verify(message(timestamp, body).as_bytes(), signature)?;
        let seconds = i64::try_from(timestamp).map_err(|_beyond| NoteError::Forged)?;
        Ok(Some(Cosignature {
            at: DateTime::from_timestamp(seconds, 0).ok_or(NoteError::Forged)?,
            line: line.to_owned(),
        }))
    }
}

/// What a cosigner signs.
fn message(timestamp: u64, body: &str) -> String {
    format!("cosignature/v1\ntime {timestamp}\n{body}")
}

/// The key of a witness. It serves one witness only: what it signs does not name the cosigner.
pub struct Cosigner {
    pair: Ed25519KeyPair,
    key: WitnessKey,
}

impl Cosigner {
    /// The cosigner with this name and seed. None when the name cannot be one.
    #[must_use]
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        let key = WitnessKey::new(name, public)?;
        Some(Self { pair, key })
    }

    /// Its public half.
    #[must_use]
    pub const fn key(&self) -> &WitnessKey {
        &self.key
    }

    /// The signature line over the body of a checkpoint, its line feed included.
    #[must_use]
    pub fn cosign(&self, timestamp: u64, body: &str) -> String {
        let mut bytes = self.key.hash().to_vec();
        bytes.extend_from_slice(&timestamp.to_be_bytes());
        bytes.extend_from_slice(self.pair.sign(message(timestamp, body).as_bytes()).as_ref());
        format!("— {} {}\n", self.key.name(), BASE64_STANDARD.encode(bytes))
    }
}

impl fmt::Debug for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cosigner").field(&self.key).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of C2SP tlog-cosignature, whose key is not published: its name, key id, time and form.
    #[test]
    fn the_published_cosignature_is_read() {
        let line = "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
        let encoded = line.trim_end().rsplit(' ').next().unwrap();
        let bytes = BASE64_STANDARD.decode(encoded).unwrap();
        assert_eq!(bytes.len(), 4 + 8 + 64);
        assert_eq!(bytes[4..12], 1_679_315_147_u64.to_be_bytes());
        let body =
            "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        assert_eq!(
            message(1_679_315_147, body),
            "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
        );
    }

    #[test]
    fn a_cosignature_holds_for_its_body_and_key_alone() {
        let cosigner = Cosigner::from_seed("witness.example/w1", &[1; 32]).unwrap();
        let other = Cosigner::from_seed("witness.example/w2", &[2; 32]).unwrap();
        let body = "touchline/x\n7\nAAAA\n";
        let lines = other.cosign(5, body) + &cosigner.cosign(6, body);
        let found = cosigner.key().find(body, &lines).unwrap().unwrap();
        assert_eq!(found.at.timestamp(), 6);
        assert_eq!(format!("{}\n", found.line), cosigner.cosign(6, body));
        assert_eq!(
            cosigner.key().find("touchline/x\n8\nAAAA\n", &lines),
            Err(NoteError::Forged)
        );
        assert_eq!(cosigner.key().find(body, &other.cosign(5, body)), Ok(None));
        assert_eq!(cosigner.key().find(body, "hello\n"), Err(NoteError::Form));
        let text = cosigner.key().to_string();
        assert_eq!(text.parse::<WitnessKey>().as_ref(), Ok(cosigner.key()));
        // The key of a log is none of a witness, nor the other way round.
        assert!(text.parse::<super::super::note::VerifierKey>().is_err());
    }
}

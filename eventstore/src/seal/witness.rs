//! A witness (C2SP tlog-witness): it remembers one size and root a log, and cosigns a checkpoint only
//! when a proof shows that it goes on from there.
//!
//! What it must do is plain functions of its state and of a request; where the state lies and how
//! requests come is for others.

use super::cosignature::Cosigner;
use super::note::{Checkpoint, NoteError, VerifierKey, split};
use super::proof::verify_consistency;
use super::tree::empty_root;
use crate::event::Digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The most hashes of a proof.
const PROOF_HASHES_MAX: usize = 63;
/// The most bytes of a request that is looked at.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// What a witness remembers of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The size of the checkpoint that it cosigned last; 0 before the first.
    pub size: u64,
    /// Its root.
    pub root: Digest,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            size: 0,
            root: empty_root(),
        }
    }
}

impl Seen {
    /// As it is stored: the size and the root in base64, a line each.
    #[must_use]
    pub fn to_text(self) -> String {
        let root = BASE64_STANDARD.encode(self.root.as_bytes());
        format!("{}\n{root}\n", self.size)
    }

    /// What [`Seen::to_text`] wrote; none for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (size, root) = text.strip_suffix('\n')?.split_once('\n')?;
        Some(Self {
            size: decimal(size)?,
            root: hash(root)?,
        })
    }
}

/// A checkpoint to be cosigned, and the proof that it goes on from the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness cosigned last, as whoever asks believes.
    pub old_size: u64,
    /// PROOF of RFC 6962 from there.
    pub proof: Vec<Digest>,
    /// The signed note.
    pub note: String,
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request is malformed, or the old size is beyond the checkpoint (400).
    Malformed,
    /// No trusted key has signed the checkpoint (403).
    Unsigned,
    /// The log is not known here (404).
    UnknownLog,
    /// The witness cosigned another size last, which this is (409).
    OtherSize(u64),
    /// The size is the one that was cosigned last, with another root (409).
    OtherRoot,
    /// The proof does not show that it goes on (422).
    NoProof,
}

impl Refusal {
    /// Whether the log has signed what does not go on from what it signed before.
    #[must_use]
    pub const fn is_alarming(self) -> bool {
        matches!(self, Self::OtherRoot | Self::NoProof)
    }
}

impl AddCheckpoint {
    /// The body of the request.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("old {}\n", self.old_size);
        for hash in &self.proof {
            text.push_str(&BASE64_STANDARD.encode(hash.as_bytes()));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// The request with this body; none when it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, note) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old_size = decimal(lines.next()?.strip_prefix("old ")?)?;
        let proof: Vec<_> = lines.map(hash).collect::<Option<_>>()?;
        (proof.len() <= PROOF_HASHES_MAX).then(|| Self {
            old_size,
            proof,
            note: note.to_owned(),
        })
    }

    /// The name of the log that the checkpoint says it is of; none when there is no checkpoint.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        let (origin, _) = self.note.split_once('\n')?;
        (!origin.is_empty()).then_some(origin)
    }

    /// Checks the request against the keys that are trusted for the log and what was seen of it. The
    /// new state must be stored before a cosignature is given away.
    ///
    /// # Errors
    /// [`Refusal`] when it must not be cosigned.
    pub fn check(&self, keys: &[VerifierKey], seen: &Seen) -> Result<Seen, Refusal> {
        if keys.is_empty() {
            return Err(Refusal::UnknownLog);
        }
        let opened: Vec<_> = keys
            .iter()
            .map(|key| key.open_checkpoint(&self.note))
            .collect();
        let signed = opened.iter().find_map(|opened| opened.as_ref().ok());
        let Some(signed) = signed else {
            let malformed = |opened: &Result<Checkpoint, NoteError>| {
                matches!(opened, Err(NoteError::Form | NoteError::NoCheckpoint))
            };
            return Err(if opened.iter().all(malformed) {
                Refusal::Malformed
            } else {
                Refusal::Unsigned
            });
        };
        if self.old_size > signed.size {
            return Err(Refusal::Malformed);
        }
        if self.old_size != seen.size {
            return Err(Refusal::OtherSize(seen.size));
        }
        if signed.size == seen.size {
            if signed.root != seen.root {
                return Err(Refusal::OtherRoot);
            }
            if !self.proof.is_empty() {
                return Err(Refusal::NoProof);
            }
        } else if seen.size == 0 {
            if !self.proof.is_empty() {
                return Err(Refusal::NoProof);
            }
        } else {
            verify_consistency(
                seen.size,
                signed.size,
                &self.proof,
                &seen.root,
                &signed.root,
            )
            .map_err(|_wrong| Refusal::NoProof)?;
        }
        Ok(Seen {
            size: signed.size,
            root: signed.root,
        })
    }

    /// The cosignature line over the checkpoint, once [`AddCheckpoint::check`] let it pass and the new
    /// state is stored. None when there is no checkpoint.
    #[must_use]
    pub fn cosigned(&self, cosigner: &Cosigner, timestamp: u64) -> Option<String> {
        let (body, _) = split(&self.note)?;
        Some(cosigner.cosign(timestamp, body))
    }
}

fn decimal(text: &str) -> Option<u64> {
    let canonical = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

fn hash(text: &str) -> Option<Digest> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    Some(Digest::new(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::note::SigningKey;
    use super::super::proof::Plan;
    use super::super::tree::{Frontier, leaf_hash};
    use super::*;
    use std::collections::HashMap;

    const ORIGIN: &str = "touchline/x";

    struct Log {
        key: SigningKey,
        roots: Vec<Digest>,
        subtrees: HashMap<super::super::tree::Subtree, Digest>,
    }

    impl Log {
        fn new(seed: u8, leaves: usize, salt: &str) -> Self {
            let (mut tree, mut subtrees) = (Frontier::new(), HashMap::new());
            let mut roots = vec![tree.root()];
            for number in 0..leaves {
                let leaf = leaf_hash(format!("{salt}{number}").as_bytes());
                tree.push(0, leaf, |node| subtrees.extend([node]));
                roots.push(tree.root());
            }
            let key = SigningKey::from_seed(ORIGIN, &[seed; 32]).unwrap();
            Self {
                key,
                roots,
                subtrees,
            }
        }

        fn request(&self, old_size: u64, size: u64) -> AddCheckpoint {
            let checkpoint = Checkpoint {
                origin: ORIGIN.to_owned(),
                size,
                root: self.roots[usize::try_from(size).unwrap()],
            };
            let plan = Plan::consistency(old_size, size);
            AddCheckpoint {
                old_size,
                proof: plan.map_or_else(Vec::new, |plan| plan.assemble(&self.subtrees).unwrap()),
                note: self.key.sign(&checkpoint.text()),
            }
        }

        fn keys(&self) -> Vec<VerifierKey> {
            vec![self.key.verifier().clone()]
        }
    }

    #[test]
    fn a_checkpoint_that_goes_on_is_cosigned_and_no_other() {
        let log = Log::new(1, 20, "");
        let keys = log.keys();
        let first = log.request(0, 7).check(&keys, &Seen::default()).unwrap();
        assert_eq!((first.size, first.root), (7, log.roots[7]));
        let second = log.request(7, 20).check(&keys, &first).unwrap();
        assert_eq!(log.request(20, 20).check(&keys, &second), Ok(second));

        let refused = |request: AddCheckpoint, refusal| {
            assert_eq!(request.check(&keys, &first), Err(refusal));
        };
        refused(log.request(0, 20), Refusal::OtherSize(7));
        refused(log.request(6, 20), Refusal::OtherSize(7));
        let mut backwards = log.request(7, 7);
        backwards.old_size = 8;
        refused(backwards, Refusal::Malformed);
        // Another history, genuinely signed.
        let rewritten = Log::new(1, 20, "other");
        refused(rewritten.request(7, 20), Refusal::NoProof);
        refused(rewritten.request(7, 7), Refusal::OtherRoot);
        let mut without = log.request(7, 20);
        without.proof.clear();
        refused(without, Refusal::NoProof);
        refused(Log::new(2, 20, "").request(7, 20), Refusal::Unsigned);
        let mut broken = log.request(7, 20);
        broken.note = "hello\n".to_owned();
        refused(broken, Refusal::Malformed);
        assert_eq!(
            log.request(7, 20).check(&[], &first),
            Err(Refusal::UnknownLog)
        );
        let mut proof_from_nothing = log.request(0, 7);
        proof_from_nothing.proof = vec![log.roots[1]];
        assert_eq!(
            proof_from_nothing.check(&keys, &Seen::default()),
            Err(Refusal::NoProof)
        );
    }

    #[test]
    fn a_request_is_read_as_it_is_written_and_nothing_else_is() {
        let log = Log::new(1, 20, "");
        let request = log.request(7, 20);
        assert_eq!(
            AddCheckpoint::parse(&request.to_text()).as_ref(),
            Some(&request)
        );
        assert_eq!(request.origin(), Some(ORIGIN));
        for wrong in [
            "",
            "old 7\n",
            "old 07\n\nnote",
            "old +7\n\nnote",
            "7\n\nnote",
            "old 7\nxx\n\nnote",
        ] {
            assert_eq!(AddCheckpoint::parse(wrong), None, "{wrong}");
        }
        let with = |hashes: usize| AddCheckpoint {
            proof: vec![log.roots[1]; hashes],
            ..request.clone()
        };
        assert!(AddCheckpoint::parse(&with(63).to_text()).is_some());
        assert_eq!(AddCheckpoint::parse(&with(64).to_text()), None);
    }

    /// The request in C2SP tlog-witness.
    #[test]
    fn the_published_request_is_read() {
        let text = "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\njrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
        let request = AddCheckpoint::parse(text).unwrap();
        assert_eq!((request.old_size, request.proof.len()), (20_852_014, 4));
        assert_eq!(request.origin(), Some("example.com/behind-the-sofa"));
        assert_eq!(request.to_text(), text);
    }

    #[test]
    fn what_was_seen_is_read_as_it_was_stored() {
        let seen = Seen {
            size: 7,
            root: leaf_hash(b"x"),
        };
        assert_eq!(Seen::parse(&seen.to_text()), Some(seen));
        assert_eq!(Seen::parse("7\n"), None);
    }
}

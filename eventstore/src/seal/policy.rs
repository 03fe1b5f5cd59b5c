//! Which witnesses must have cosigned a checkpoint before it is believed: a policy, as C2SP tlog-policy
//! writes it.
//!
//! ```text
//! # two of three auditors
//! witness north  north.example/w+6c7f…+BB…  https://north.example
//! witness south  south.example/w+1b30…+BC…  https://south.example
//! witness league league.example/w+93e1…+BD… https://league.example
//! group auditors 2 north south league
//! quorum auditors
//! ```

use super::cosignature::WitnessKey;
use std::collections::{HashMap, HashSet};
use thiserror::Error;

/// The most witnesses of a policy: as many as the signature lines of a note that are looked at.
pub const WITNESSES_MAX: usize = 16;

/// Somebody who cosigns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The key.
    pub key: WitnessKey,
    /// Where it is asked; none when it is only verified.
    pub url: Option<String>,
}

/// Witnesses, and how many of which must have cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    witnesses: Vec<Witness>,
    quorum: Member,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    /// By its place among the witnesses.
    Witness(usize),
    Group {
        needed: usize,
        members: Vec<Member>,
    },
}

/// A text that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// A line is not one of those that there are.
    #[error(
        "line {line}: it is none of `witness NAME KEY [URL]`, `group NAME N|any|all MEMBER…` and `quorum NAME`"
    )]
    Line {
        /// Its number.
        line: usize,
    },
    /// A key is none of a witness.
    #[error("line {line}: the key is none of a witness (C2SP signed-note, type 4)")]
    Key {
        /// The number of the line.
        line: usize,
    },
    /// A name is given twice, or is `none`.
    #[error("line {line}: {name} cannot be a name here: it is taken")]
    Taken {
        /// The number of the line.
        line: usize,
        /// The name.
        name: String,
    },
    /// Nothing before has the name.
    #[error("line {line}: nothing before is called {name}, or it is in a group already")]
    Unknown {
        /// The number of the line.
        line: usize,
        /// The name.
        name: String,
    },
    /// A group demands none or more than it has.
    #[error("line {line}: a group demands 1 or more, and no more than it has members")]
    Threshold {
        /// The number of the line.
        line: usize,
    },
    /// Two witnesses have one key.
    #[error("the witness {name} is there twice")]
    Twice {
        /// The name of its key.
        name: String,
    },
    /// There are too many.
    #[error("there are more than {WITNESSES_MAX} witnesses")]
    TooMany,
    /// It demands nothing.
    #[error("it has no `quorum`, or no witness")]
    NoQuorum,
}

impl Policy {
    /// All of these must have cosigned.
    ///
    /// # Errors
    /// [`PolicyError`] when there are none, too many, or one of them twice.
    pub fn all(keys: Vec<WitnessKey>) -> Result<Self, PolicyError> {
        let quorum = Member::Group {
            needed: keys.len(),
            members: (0..keys.len()).map(Member::Witness).collect(),
        };
        let witnesses = keys.into_iter().map(|key| Witness { key, url: None });
        Self::checked(witnesses.collect(), quorum)
    }

    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`] when the text is none.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let (mut witnesses, mut quorum) = (Vec::new(), None);
        // What was named and is in no group yet; and every name.
        let (mut free, mut names) = (HashMap::new(), HashSet::from(["none".to_owned()]));
        for (text, line) in text.lines().zip(1..) {
            let words: Vec<_> = text.split_whitespace().collect();
            let (name, member) = match words.as_slice() {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                ["witness", name, key, url @ ..] if url.len() <= 1 => {
                    let key = key
                        .parse()
                        .map_err(|_malformed| PolicyError::Key { line })?;
                    let url = url.first().map(|url| (*url).to_owned());
                    witnesses.push(Witness { key, url });
                    (*name, Member::Witness(witnesses.len() - 1))
                }
                ["group", name, needed, members @ ..] => {
                    let group = Self::group(line, needed, members, &mut free)?;
                    (*name, group)
                }
                ["quorum", name] if quorum.is_none() => {
                    let unknown = || PolicyError::Unknown {
                        line,
                        name: (*name).to_owned(),
                    };
                    quorum = Some(free.remove(*name).ok_or_else(unknown)?);
                    continue;
                }
                _ => return Err(PolicyError::Line { line }),
            };
            let name = name.to_owned();
            if !names.insert(name.clone()) {
                return Err(PolicyError::Taken { line, name });
            }
            free.insert(name, member);
        }
        Self::checked(witnesses, quorum.ok_or(PolicyError::NoQuorum)?)
    }

    fn group(
        line: usize,
        needed: &str,
        names: &[&str],
        free: &mut HashMap<String, Member>,
    ) -> Result<Member, PolicyError> {
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            let unknown = || PolicyError::Unknown {
                line,
                name: (*name).to_owned(),
            };
            members.push(free.remove(*name).ok_or_else(unknown)?);
        }
        let needed = match needed {
            "any" => 1,
            "all" => members.len(),
            number => number
                .parse()
                .map_err(|_malformed| PolicyError::Line { line })?,
        };
        if needed == 0 || needed > members.len() {
            return Err(PolicyError::Threshold { line });
        }
        Ok(Member::Group { needed, members })
    }

    fn checked(witnesses: Vec<Witness>, quorum: Member) -> Result<Self, PolicyError> {
        if witnesses.is_empty() {
            return Err(PolicyError::NoQuorum);
        }
        if witnesses.len() > WITNESSES_MAX {
            return Err(PolicyError::TooMany);
        }
        let mut keys = HashSet::new();
        for witness in &witnesses {
            // One key under two names would count twice.
            if !keys.insert(witness.key.public()) {
                let name = witness.key.name().to_owned();
                return Err(PolicyError::Twice { name });
            }
        }
        Ok(Self { witnesses, quorum })
    }

    /// Every witness in it.
    #[must_use]
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Whether those that have cosigned are enough; `cosigned` tells of each witness, by its place.
    #[must_use]
    pub fn is_met(&self, cosigned: &[bool]) -> bool {
        self.quorum.is_met(cosigned)
    }
}

impl Member {
    fn is_met(&self, cosigned: &[bool]) -> bool {
        match self {
            Self::Witness(place) => cosigned.get(*place).copied().unwrap_or(false),
            Self::Group { needed, members } => {
                members.iter().filter(|it| it.is_met(cosigned)).count() >= *needed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cosignature::Cosigner;
    use super::*;

    fn key(number: usize) -> WitnessKey {
        let seed = [u8::try_from(number).unwrap(); 32];
        let cosigner = Cosigner::from_seed(&format!("witness.example/{number}"), &seed).unwrap();
        cosigner.key().clone()
    }

    fn witnesses(many: usize) -> String {
        let line = |number| {
            format!(
                "witness w{number} {} http://w{number}.example\n",
                key(number)
            )
        };
        (0..many).map(line).collect()
    }

    #[test]
    fn two_of_three_are_enough_and_one_is_not() {
        let text = format!(
            "# auditors\n\n{}group a 2 w0 w1 w2\nquorum a\n",
            witnesses(3)
        );
        let policy = Policy::parse(&text).unwrap();
        assert_eq!(policy.witnesses()[1].key, key(1));
        assert_eq!(
            policy.witnesses()[1].url.as_deref(),
            Some("http://w1.example")
        );
        for (cosigned, met) in [
            ([true, true, false], true),
            ([true, false, true], true),
            ([false, false, true], false),
            ([false; 3], false),
        ] {
            assert_eq!(policy.is_met(&cosigned), met, "{cosigned:?}");
        }
        let nested = format!(
            "{}group two all w0 w1\ngroup both any two w2\nquorum both",
            witnesses(3)
        );
        let policy = Policy::parse(&nested).unwrap();
        assert!(policy.is_met(&[false, false, true]));
        assert!(!policy.is_met(&[true, false, false]));
        let all = Policy::all(vec![key(1), key(2)]).unwrap();
        assert!(all.is_met(&[true, true]) && !all.is_met(&[true, false]));
    }

    #[test]
    fn what_is_no_policy_is_refused_with_its_line() {
        let one = witnesses(1);
        let with = |rest: &str| Policy::parse(&format!("{one}{rest}")).unwrap_err();
        let unknown = |line, name: &str| PolicyError::Unknown {
            line,
            name: name.to_owned(),
        };
        assert_eq!(with(""), PolicyError::NoQuorum);
        assert_eq!(with("quorum none"), unknown(2, "none"));
        assert_eq!(with("quorum w1"), unknown(2, "w1"));
        assert_eq!(with("nonsense"), PolicyError::Line { line: 2 });
        assert_eq!(with("group g x w0"), PolicyError::Line { line: 2 });
        assert_eq!(with("group g 0 w0"), PolicyError::Threshold { line: 2 });
        assert_eq!(with("group g 2 w0"), PolicyError::Threshold { line: 2 });
        assert_eq!(with("group g 1 w0\ngroup h 1 w0"), unknown(3, "w0"));
        assert_eq!(with("witness w2 nonsense"), PolicyError::Key { line: 2 });
        let name = "w0".to_owned();
        assert_eq!(with(&one), PolicyError::Taken { line: 2, name });
        let again = format!("witness again {}\nquorum again", key(0));
        let name = key(0).name().to_owned();
        assert_eq!(with(&again), PolicyError::Twice { name });
    }

    #[test]
    fn there_are_as_many_witnesses_as_the_limit_and_not_one_more() {
        let keys = |many: usize| (0..many).map(key).collect();
        assert!(Policy::all(keys(WITNESSES_MAX)).is_ok());
        assert_eq!(
            Policy::all(keys(WITNESSES_MAX + 1)),
            Err(PolicyError::TooMany)
        );
        assert_eq!(Policy::all(Vec::new()), Err(PolicyError::NoQuorum));
    }
}

//! The port that hashes passwords, and its adapter: Argon2id off the async threads, behind a
//! bounded queue, so that a flood of sign-ins slows down sign-ins and nothing else.

use argon2::password_hash::phc::PasswordHash as PhcHash;
use argon2::{Argon2, Params, PasswordHasher as _, PasswordVerifier as _};
use futures::future::BoxFuture;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::Semaphore;
use touchline_domain::value::ValueError;

/// A password in clear. `Debug` does not show it.
#[derive(Clone)]
pub struct Password(Box<str>);

impl Password {
    /// The least number of characters of a password to set.
    pub const MIN_CHARS: usize = 12;
    /// The greatest number of characters.
    pub const MAX_CHARS: usize = 128;

    /// A password to set: any characters, taken as they are.
    ///
    /// # Errors
    /// [`ValueError::TooShort`] and [`ValueError::TooLong`].
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let chars = text.chars().count();
        if chars < Self::MIN_CHARS {
            return Err(ValueError::TooShort {
                min: Self::MIN_CHARS,
            });
        }
        if chars > Self::MAX_CHARS {
            return Err(ValueError::TooLong {
                max: Self::MAX_CHARS,
            });
        }
        Ok(Self(text.into()))
    }

    /// A password to try. Whatever cannot be set is simply wrong, and says no more than that.
    #[must_use]
    pub fn attempt(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(secret)")
    }
}

/// A hashed password as a PHC string. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Box<str>);

impl PasswordHash {
    /// The hash written as `phc`; whether it is one is found out when it is verified.
    #[must_use]
    pub fn new(phc: &str) -> Self {
        Self(phc.into())
    }

    /// The PHC string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(secret)")
    }
}

/// What became of a password that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is wrong.
    Wrong,
    /// It is right.
    Right,
    /// It is right, and its hash was made with other parameters than today's: hash it again.
    RightButOutdated,
}

/// Why a password was neither hashed nor verified.
#[derive(Debug, Error)]
pub enum PasswordError {
    /// Too many wait already.
    #[error("too many passwords wait to be hashed")]
    Busy,
    /// The stored hash is none, or the memory did not suffice.
    #[error("the password cannot be hashed")]
    Hash(#[source] argon2::password_hash::Error),
    /// The thread that hashed has died.
    #[error("the thread that hashed has died")]
    Died(#[source] tokio::task::JoinError),
}

/// Hashes and verifies passwords.
pub trait PasswordHasher: Send + Sync + 'static {
    /// The hash of `password`, with a new salt.
    fn hash(&self, password: Password) -> BoxFuture<'static, Result<PasswordHash, PasswordError>>;

    /// Whether `password` is the one behind `hash`. Without a hash the answer is
    /// [`Verdict::Wrong`], after as much work as with one: the time tells nothing.
    fn verify(
        &self,
        password: Password,
        hash: Option<PasswordHash>,
    ) -> BoxFuture<'static, Result<Verdict, PasswordError>>;
}

/// Argon2id with 19,456 KiB, two passes and one lane: the least that OWASP advises.
///
/// As many passwords are hashed at a time as there are permits, four times as many wait, and the
/// next one is told [`PasswordError::Busy`].
#[derive(Clone)]
pub struct Argon2Hasher {
    params: Params,
    running: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// How many wait for each one that is hashed.
const WAITING_PER_RUNNING: usize = 4;

/// Stands in for the hash of an account that does not exist. It has today's parameters and is the
/// hash of nothing that anybody knows.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdC4uLg$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl Argon2Hasher {
    /// A hasher with today's parameters that works on `permits` passwords at a time.
    #[must_use]
    pub fn new(permits: NonZeroUsize) -> Self {
        let waiting = permits.get().saturating_mul(WAITING_PER_RUNNING);
        let places = permits.get().saturating_add(waiting);
        Self {
            params: Params::DEFAULT,
            running: Arc::new(Semaphore::new(permits.get().min(Semaphore::MAX_PERMITS))),
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// A hasher that leaves half of this machine's cores to everything else.
    #[must_use]
    pub fn for_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self::new(NonZeroUsize::new(cores / 2).unwrap_or(NonZeroUsize::MIN))
    }

    fn argon2(&self) -> Argon2<'static> {
        Argon2::new(
            argon2::Algorithm::Argon2id,
            argon2::Version::V0x13,
            self.params.clone(),
        )
    }

    /// Runs `work` on a thread of its own when its turn comes. Work that has begun is finished even
    /// when nobody waits for it any more, and keeps its permit until then.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, PasswordError>> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let running = Arc::clone(&self.running);
        Box::pin(async move {
            let place = place.map_err(|_full| PasswordError::Busy)?;
            let permit = running
                .acquire_owned()
                .await
                .map_err(|_closed| PasswordError::Busy)?;
            tokio::task::spawn_blocking(move || {
                let _until_done = (place, permit);
                work()
            })
            .await
            .map_err(PasswordError::Died)?
        })
    }
}

impl PasswordHasher for Argon2Hasher {
    fn hash(&self, password: Password) -> BoxFuture<'static, Result<PasswordHash, PasswordError>> {
        let argon2 = self.argon2();
        self.run(move || {
            argon2
                .hash_password(password.0.as_bytes())
                .map(|hash| PasswordHash::new(&hash.to_string()))
                .map_err(PasswordError::Hash)
        })
    }

    fn verify(
        &self,
        password: Password,
        hash: Option<PasswordHash>,
    ) -> BoxFuture<'static, Result<Verdict, PasswordError>> {
        let argon2 = self.argon2();
        self.run(move || {
            let phc = hash.as_ref().map_or(NOBODY, PasswordHash::as_str);
            let parsed = PhcHash::new(phc)
                .map_err(argon2::password_hash::Error::from)
                .map_err(PasswordError::Hash)?;
            match argon2.verify_password(password.0.as_bytes(), &parsed) {
                Ok(()) if hash.is_none() => Ok(Verdict::Wrong),
                Ok(()) if is_todays(&parsed, argon2.params()) => Ok(Verdict::Right),
                Ok(()) => Ok(Verdict::RightButOutdated),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(Verdict::Wrong),
                Err(error) => Err(PasswordError::Hash(error)),
            }
        })
    }
}

/// Whether `hash` was made as today's are.
fn is_todays(hash: &PhcHash, today: &Params) -> bool {
    let same_cost = Params::try_from(hash).is_ok_and(|params| {
        (params.m_cost(), params.t_cost(), params.p_cost())
            == (today.m_cost(), today.t_cost(), today.p_cost())
    });
    hash.algorithm == argon2::ARGON2ID_IDENT && hash.version == Some(0x13) && same_cost
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn hasher() -> Argon2Hasher {
        Argon2Hasher::new(NonZeroUsize::MIN)
    }

    #[test]
    fn a_password_has_12_to_128_characters_and_is_not_shown() {
        assert!(Password::parse(&"é".repeat(12)).is_ok());
        assert!(Password::parse(&" ".repeat(128)).is_ok());
        assert_eq!(
            Password::parse(&"é".repeat(11)).err(),
            Some(ValueError::TooShort { min: 12 })
        );
        assert_eq!(
            Password::parse(&"é".repeat(129)).err(),
            Some(ValueError::TooLong { max: 128 })
        );
        let shown = format!("{:?}", Password::attempt("correct horse"));
        assert_eq!(shown, "Password(secret)");
        let shown = format!("{:?}", PasswordHash::new("$argon2id$"));
        assert_eq!(shown, "PasswordHash(secret)");
    }

    #[tokio::test]
    async fn the_right_password_verifies_and_no_other() {
        let hasher = hasher();
        let password = Password::parse("correct horse battery").unwrap();
        let hash = hasher.hash(password.clone()).await.unwrap();
        let phc = hash.as_str();
        assert!(
            phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "the parameters are those of the documentation"
        );
        let verify = |password, hash| hasher.verify(password, hash);
        assert_eq!(
            verify(password.clone(), Some(hash.clone())).await.unwrap(),
            Verdict::Right
        );
        let wrong = Password::attempt("correct horse batterz");
        assert_eq!(
            verify(wrong, Some(hash.clone())).await.unwrap(),
            Verdict::Wrong
        );
        assert_eq!(
            verify(password.clone(), None).await.unwrap(),
            Verdict::Wrong
        );
        let another = hasher.hash(password).await.unwrap();
        assert_ne!(another, hash, "each hash has a salt of its own");
    }

    #[tokio::test]
    async fn a_hash_of_other_parameters_is_outdated() {
        let mut old = hasher();
        old.params = Params::new(8_192, 1, 1, None).unwrap();
        let password = Password::parse("correct horse battery").unwrap();
        let hash = old.hash(password.clone()).await.unwrap();
        assert_eq!(
            hasher().verify(password, Some(hash)).await.unwrap(),
            Verdict::RightButOutdated
        );
    }

    #[tokio::test]
    async fn what_is_no_hash_is_an_error() {
        let broken = Some(PasswordHash::new("not a hash"));
        let answer = hasher().verify(Password::attempt("x"), broken).await;
        assert!(matches!(answer, Err(PasswordError::Hash(_))));
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_empties() {
        let hasher = hasher();
        let stopped = Arc::clone(&hasher.running).acquire_owned().await.unwrap();
        let verify = || hasher.verify(Password::attempt("x"), None);
        let mut waiting: Vec<_> = (0..=WAITING_PER_RUNNING).map(|_| verify()).collect();
        // The answer is there at once: nobody waits to be told that they cannot wait.
        let refused = verify().now_or_never();
        assert!(matches!(refused, Some(Err(PasswordError::Busy))));
        // One that stops waiting leaves its place.
        drop(waiting.pop());
        waiting.push(verify());
        drop(stopped);
        for waited in waiting {
            assert_eq!(waited.await.unwrap(), Verdict::Wrong);
        }
        assert_eq!(verify().await.unwrap(), Verdict::Wrong);
    }
}

//! Profiles and relations: change one's profile, follow, unfollow.

use crate::bus::{Bus, ExecuteError, Failure, Intent, Outcome};
use crate::envelope::Envelope;
use std::convert::Infallible;
use thiserror::Error;
use touchline_domain::id::{FollowId, UserId};
use touchline_domain::identity::{Account, DisplayName};
use touchline_domain::users::{
    Bio, ChangeProfile, Follow, FollowCommand, FollowError, FollowPair, Locale, Location, Profile,
    ProfileCommand, TimeZone,
};

/// What somebody wants their profile to say. A field that is none stays as it is.
#[derive(Debug, Clone, Default)]
pub struct ProfileChanges {
    /// The full name.
    pub display_name: Option<DisplayName>,
    /// The text about oneself.
    pub bio: Option<Bio>,
    /// The place, in words.
    pub location: Option<Location>,
    /// The language.
    pub locale: Option<Locale>,
    /// The time zone.
    pub time_zone: Option<TimeZone>,
}

/// Why a profile was not changed.
#[derive(Debug, Error)]
pub enum ChangeProfileError {
    /// The command was not carried through.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<ExecuteError<Infallible>> for ChangeProfileError {
    fn from(error: ExecuteError<Infallible>) -> Self {
        match error {
            ExecuteError::Refused(never) => match never {},
            ExecuteError::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Why nobody was followed or unfollowed.
#[derive(Debug, Error)]
pub enum FollowUserError {
    /// There is no such account.
    #[error("there is no such account")]
    UserNotFound,
    /// A rule of following refuses it.
    #[error("the follow is refused")]
    Refused(#[source] FollowError),
    /// The command was not carried through.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<ExecuteError<FollowError>> for FollowUserError {
    fn from(error: ExecuteError<FollowError>) -> Self {
        match error {
            ExecuteError::Refused(reason) => Self::Refused(reason),
            ExecuteError::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// Changes the profile of who asks. `expected_version` is the version that they have seen; none
/// changes whatever there is.
///
/// # Errors
/// [`ChangeProfileError`].
#[tracing::instrument(name = "users.change_profile", skip_all, err(level = "debug"))]
pub async fn change_profile(
    bus: &Bus,
    envelope: &Envelope,
    changes: ProfileChanges,
    expected_version: Option<i64>,
) -> Result<Outcome<Profile>, ChangeProfileError> {
    let changes = &changes;
    bus.decide(envelope, |reads| {
        Box::pin(async move {
            let (user_id, account) = reads.actor().await?;
            let registration = account.registration().ok_or(Failure::NotAuthenticated)?;
            let changes = changes.clone();
            let command = ProfileCommand::Change(ChangeProfile {
                user_id,
                registered_name: registration.display_name.clone(),
                display_name: changes.display_name,
                bio: changes.bio,
                location: changes.location,
                locale: changes.locale,
                time_zone: changes.time_zone,
                at: envelope.at,
            });
            Ok(Intent::new(user_id.uuid(), command).at_version(expected_version))
        })
    })
    .await
}

/// Lets who asks follow `followee`. Done again, it changes nothing.
///
/// # Errors
/// [`FollowUserError`].
#[tracing::instrument(name = "users.follow", skip_all, fields(%followee), err(level = "debug"))]
pub async fn follow(
    bus: &Bus,
    envelope: &Envelope,
    followee: UserId,
) -> Result<Outcome<Follow>, FollowUserError> {
    relate(bus, envelope, followee, FollowCommand::Follow).await
}

/// Lets who asks follow `followee` no more. Done again, it changes nothing.
///
/// # Errors
/// [`FollowUserError`].
#[tracing::instrument(name = "users.unfollow", skip_all, fields(%followee), err(level = "debug"))]
pub async fn unfollow(
    bus: &Bus,
    envelope: &Envelope,
    followee: UserId,
) -> Result<Outcome<Follow>, FollowUserError> {
    relate(bus, envelope, followee, FollowCommand::Unfollow).await
}

async fn relate(
    bus: &Bus,
    envelope: &Envelope,
    target: UserId,
    command: impl Fn(FollowPair) -> FollowCommand + Send + Sync,
) -> Result<Outcome<Follow>, FollowUserError> {
    let command = &command;
    bus.decide(envelope, |reads| {
        Box::pin(async move {
            let (follower_id, _) = reads.actor().await?;
            let followee = reads.load::<Account>(target.uuid()).await?;
            if followee.registration().is_none() {
                return Err(FollowUserError::UserNotFound);
            }
            let pair = FollowPair {
                follower_id,
                followee_id: target,
                at: envelope.at,
            };
            let id = FollowId::of(follower_id, target).uuid();
            Ok(Intent::new(id, command(pair)).presuming_new())
        })
    })
    .await
}

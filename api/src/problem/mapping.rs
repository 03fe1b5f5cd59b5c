//! From the errors of the layers below to problems. Nothing below knows HTTP; this file alone does
//! the translation.

use super::{FieldProblem, Place, Problem, ProblemCode};
use cqrs_es::persist::PersistenceError;
use touchline_commands::Failure;
use touchline_commands::credentials::CredentialsError;
use touchline_commands::erasure::EraseError;
use touchline_commands::identity::{ApproveError, SignInError, SignUpError};
use touchline_commands::passwords::PasswordError;
use touchline_commands::permissions::ChangePermissionError;
use touchline_commands::posts::{ChangePostError, CommentOnPostError, LikePostError, PublishError};
use touchline_commands::users::{ChangeProfileError, FollowUserError};
use touchline_domain::identity::AccountError;
use touchline_domain::users::FollowError;
use touchline_eventstore::append::AppendError;
use touchline_eventstore::keys::KeyError;
use touchline_eventstore::store::ReadError;
use touchline_projections::parked::ParkedError;

/// Whether a database error is about the database being away or overloaded, and not about what was
/// asked of it. The classes are those of PostgreSQL, appendix A: connection, rollback, resources,
/// operator intervention, system.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(refused) => refused.code().is_some_and(|code| {
            ["08", "40", "53", "57", "58"]
                .iter()
                .any(|class| code.starts_with(class))
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// Whether a statement does not fit the tables that it names: those of a read model are another
/// version's while an update is rolled out (ADR-0015). The codes are those of an undefined table,
/// column and schema, and of a result whose type has changed.
fn is_changing(error: &sqlx::Error) -> bool {
    let refused = error.as_database_error();
    let code = refused.and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["42P01", "42703", "3F000", "0A000"].contains(&&*code))
}

const fn away_or_broken(away: bool) -> ProblemCode {
    if away {
        ProblemCode::Unavailable
    } else {
        ProblemCode::Internal
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if is_changing(&error) {
            return Self::caused_by(ProblemCode::ReadModelChanging, error);
        }
        Self::caused_by(away_or_broken(is_away(&error)), error)
    }
}

fn are_keys_away(error: &KeyError) -> bool {
    match error {
        KeyError::Database(error) => is_away(error),
        KeyError::Contended(_) => true,
        _ => false,
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let away = match &error {
            ReadError::Database(error) => is_away(error),
            ReadError::Repository(error) => {
                !matches!(error, PersistenceError::DeserializationError(_))
            }
            ReadError::Keys(error) => are_keys_away(error),
            ReadError::Decode(_)
            | ReadError::Incomplete { .. }
            | ReadError::Damaged { .. }
            | ReadError::OtherHistory { .. } => false,
        };
        Self::caused_by(away_or_broken(away), error)
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        let away = match &error {
            AppendError::Unavailable { .. } | AppendError::Closed => true,
            AppendError::Keys(error) => are_keys_away(error),
            _ => false,
        };
        Self::caused_by(away_or_broken(away), error)
    }
}

impl From<CredentialsError> for Problem {
    fn from(error: CredentialsError) -> Self {
        let away = matches!(&error, CredentialsError::Database(error) if is_away(error));
        Self::caused_by(away_or_broken(away), error)
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        let busy = matches!(error, PasswordError::Busy);
        Self::caused_by(
            if busy {
                ProblemCode::Busy
            } else {
                ProblemCode::Internal
            },
            error,
        )
    }
}

impl From<ParkedError> for Problem {
    fn from(error: ParkedError) -> Self {
        match error {
            ParkedError::NotParked => Self::new(ProblemCode::NotFound),
            ParkedError::RebuildRunning => Self::new(ProblemCode::RebuildRunning),
            ParkedError::OtherVersion { .. } => Self::new(ProblemCode::ReadModelChanging),
            ParkedError::Unsigned => Self::new(ProblemCode::ValidationFailed),
            ParkedError::Read(error) => error.into(),
            ParkedError::Database(error) => error.into(),
            ParkedError::Write(_) => Self::caused_by(ProblemCode::Unavailable, error),
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            // The token is good, and its account is not there: it names nobody.
            Failure::NotAuthenticated => Self::new(ProblemCode::InvalidToken),
            Failure::AccountPending => Self::new(ProblemCode::AccountPending),
            Failure::PermissionRequired { permission } => Self::with_detail(
                ProblemCode::PermissionRequired,
                format!("The operation needs the permission {permission}."),
            ),
            Failure::VersionMismatch { .. } => Self::new(ProblemCode::VersionMismatch),
            Failure::StreamFull { events_max, .. } => Self::with_detail(
                ProblemCode::ChangeLimitReached,
                format!("It may be changed {events_max} times."),
            ),
            Failure::CommandReused => Self::new(ProblemCode::IdempotencyKeyReused),
            Failure::Contended => Self::new(ProblemCode::ConcurrentModification),
            Failure::Read(error) => error.into(),
            Failure::Append(error) => error.into(),
            Failure::ClaimTaken { .. } | Failure::Encode(_) => {
                Self::caused_by(ProblemCode::Internal, failure)
            }
        }
    }
}

impl From<SignUpError> for Problem {
    fn from(error: SignUpError) -> Self {
        match error {
            SignUpError::EmailTaken => Self::new(ProblemCode::EmailTaken),
            SignUpError::HandleTaken => Self::new(ProblemCode::HandleTaken),
            SignUpError::RootTaken => Self::new(ProblemCode::Internal),
            SignUpError::Refused(reason) => refused_account(reason),
            SignUpError::Password(error) => error.into(),
            SignUpError::Credentials(error) => error.into(),
            SignUpError::Failed(failure) => failure.into(),
        }
    }
}

fn refused_account(reason: AccountError) -> Problem {
    let (field, code) = match reason {
        AccountError::HandleReserved => ("/handle", "reserved"),
        AccountError::CricketRoleMissing => ("/cricket_role", "required"),
        AccountError::CricketRoleWithoutCricket => ("/cricket_role", "not-for-sport"),
        AccountError::BirthYearInFuture => ("/birth_year", "in-future"),
        AccountError::AlreadyRegistered
        | AccountError::NotRegistered
        | AccountError::NotWaiting
        | AccountError::NotActive
        | AccountError::IsRoot => {
            return Problem::caused_by(ProblemCode::Internal, reason);
        }
    };
    invalid_field(field, code, reason.to_string())
}

fn invalid_field(pointer: &str, code: &'static str, detail: String) -> Problem {
    Problem::invalid(vec![FieldProblem::new(
        Place::Pointer(pointer.to_owned()),
        code,
        detail,
    )])
}

impl From<EraseError> for Problem {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::Refused(AccountError::IsRoot) => Self::new(ProblemCode::FirstAdmin),
            EraseError::Refused(AccountError::NotRegistered) => {
                Self::new(ProblemCode::InvalidToken)
            }
            EraseError::Refused(reason) => Self::caused_by(ProblemCode::Internal, reason),
            EraseError::Keys(error) => {
                Self::caused_by(away_or_broken(are_keys_away(&error)), error)
            }
            EraseError::Credentials(error) => error.into(),
            EraseError::Failed(failure) => failure.into(),
        }
    }
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::InvalidCredentials => Self::new(ProblemCode::InvalidCredentials),
            SignInError::Password(error) => error.into(),
            SignInError::Credentials(error) => error.into(),
            SignInError::Failed(failure) => failure.into(),
        }
    }
}

impl From<ChangePermissionError> for Problem {
    fn from(error: ChangePermissionError) -> Self {
        match error {
            ChangePermissionError::NotFound => Self::new(ProblemCode::NotFound),
            ChangePermissionError::NotActive => Self::new(ProblemCode::AccountNotActive),
            ChangePermissionError::IsRoot => Self::new(ProblemCode::FirstAdmin),
            ChangePermissionError::Failed(failure) => failure.into(),
        }
    }
}

impl From<ApproveError> for Problem {
    fn from(error: ApproveError) -> Self {
        match error {
            ApproveError::Refused(AccountError::NotWaiting) => {
                Self::new(ProblemCode::ApprovalNotNeeded)
            }
            ApproveError::Refused(_) => Self::new(ProblemCode::NotFound),
            ApproveError::Failed(failure) => failure.into(),
        }
    }
}

impl From<ChangeProfileError> for Problem {
    fn from(error: ChangeProfileError) -> Self {
        match error {
            ChangeProfileError::Failed(failure) => failure.into(),
        }
    }
}

impl From<FollowUserError> for Problem {
    fn from(error: FollowUserError) -> Self {
        match error {
            FollowUserError::UserNotFound => Self::new(ProblemCode::NotFound),
            FollowUserError::Refused(FollowError::Oneself) => {
                Self::new(ProblemCode::CannotFollowOneself)
            }
            FollowUserError::Failed(failure) => failure.into(),
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        match error {
            // Its id is new: nothing can have been published under it.
            PublishError::Refused(reason) => Self::caused_by(ProblemCode::Internal, reason),
            PublishError::Failed(failure) => failure.into(),
        }
    }
}

impl From<ChangePostError> for Problem {
    fn from(error: ChangePostError) -> Self {
        match error {
            ChangePostError::NotFound => Self::new(ProblemCode::NotFound),
            ChangePostError::NotAuthor => Self::new(ProblemCode::NotAuthor),
            ChangePostError::Failed(failure) => failure.into(),
        }
    }
}

impl From<LikePostError> for Problem {
    fn from(error: LikePostError) -> Self {
        match error {
            LikePostError::NotFound => Self::new(ProblemCode::NotFound),
            LikePostError::Failed(failure) => failure.into(),
        }
    }
}

impl From<CommentOnPostError> for Problem {
    fn from(error: CommentOnPostError) -> Self {
        match error {
            CommentOnPostError::NotFound => Self::new(ProblemCode::NotFound),
            CommentOnPostError::ParentNotFound => invalid_field(
                "/parent_id",
                "not-found",
                "must be a comment below this post".to_owned(),
            ),
            CommentOnPostError::Refused(reason) => Self::caused_by(ProblemCode::Internal, reason),
            CommentOnPostError::Failed(failure) => failure.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use touchline_domain::event::DecodeError;

    fn code(error: impl Into<Problem>) -> ProblemCode {
        error.into().code()
    }

    fn unknown_event() -> ReadError {
        ReadError::Decode(DecodeError::UnknownType {
            name: "posts.post_sung".to_owned(),
        })
    }

    /// What no client can bring about in a test over HTTP, or not at will.
    #[test]
    fn what_is_away_may_be_tried_again_and_what_is_broken_may_not() {
        assert_eq!(
            code(Failure::Contended),
            ProblemCode::ConcurrentModification
        );
        for outcome_unknown in [false, true] {
            let away = AppendError::Unavailable { outcome_unknown };
            assert_eq!(code(Failure::Append(away)), ProblemCode::Unavailable);
        }
        assert_eq!(code(AppendError::Closed), ProblemCode::Unavailable);
        assert_eq!(
            code(AppendError::Refused { reason: "too many" }),
            ProblemCode::Internal
        );
        assert_eq!(code(sqlx::Error::PoolTimedOut), ProblemCode::Unavailable);
        assert_eq!(
            code(ReadError::Database(sqlx::Error::PoolClosed)),
            ProblemCode::Unavailable
        );
        assert_eq!(code(sqlx::Error::RowNotFound), ProblemCode::Internal);
        assert_eq!(code(Failure::Read(unknown_event())), ProblemCode::Internal);
        assert_eq!(
            code(ReadError::Damaged { position: 7 }),
            ProblemCode::Internal
        );
        let scope = "identity.phone".to_owned();
        assert_eq!(
            code(SignUpError::Failed(Failure::ClaimTaken { scope })),
            ProblemCode::Internal
        );
    }

    #[test]
    fn the_log_hears_every_cause_and_the_client_none() {
        let problem = Problem::from(Failure::Read(unknown_event()));
        let causes = problem.causes().unwrap();
        assert!(causes.contains("posts.post_sung"), "{causes}");
        assert!(!format!("{:?}", problem.render("/", "id").headers()).contains("sung"));
    }
}

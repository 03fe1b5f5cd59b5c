//! The one catalogue of everything that can go wrong, as a client sees it.

use axum::http::StatusCode;

/// Declares the catalogue: each problem with its frozen code, its status, its title and what a
/// client is to make of it.
macro_rules! problems {
    ($($variant:ident = $code:literal, $status:ident, $title:literal, $meaning:literal;)+) => {
        /// What went wrong. Codes are frozen: clients act on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ProblemCode {
            $(#[doc = $meaning] $variant),+
        }

        impl ProblemCode {
            /// Every problem, by status.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The frozen word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// The HTTP status that it is sent with.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status),+ }
            }

            /// A few words for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }

            /// What it means, and what to do about it.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

problems! {
    BadRequest = "bad-request", BAD_REQUEST, "Bad request",
        "The request could not be understood and no other code says it better.";
    InvalidJson = "invalid-json", BAD_REQUEST, "The body is not JSON",
        "The body is not one JSON text in UTF-8. The detail names the line and the column.";
    JsonTooDeep = "json-too-deep", BAD_REQUEST, "The JSON is nested too deeply",
        "The body nests arrays and objects more deeply than the limit.";
    UnknownField = "unknown-field", BAD_REQUEST, "Unknown field",
        "The body has a field that the operation does not know. Nothing is ignored silently: leave it out.";
    DuplicateField = "duplicate-field", BAD_REQUEST, "Field given twice",
        "An object in the body has one field twice, so that it is unclear which is meant.";
    MissingField = "missing-field", BAD_REQUEST, "Missing field",
        "The body lacks a field that the operation needs.";
    WrongType = "wrong-type", BAD_REQUEST, "Wrong JSON type",
        "A field has another JSON type than the one that the operation documents.";
    StaffRole = "staff-role", BAD_REQUEST, "Staff roles cannot be asked for",
        "Nobody signs up as staff: an admin grants these permissions.";
    UnknownParameter = "unknown-parameter", BAD_REQUEST, "Unknown query parameter",
        "The query has a parameter that the operation does not know.";
    DuplicateParameter = "duplicate-parameter", BAD_REQUEST, "Query parameter given twice",
        "A query parameter is given more than once, so that it is unclear which is meant.";
    InvalidParameter = "invalid-parameter", BAD_REQUEST, "Invalid query parameter",
        "A query parameter has a value that is not allowed, for instance a `limit` outside 1 to 100.";
    BackwardsRange = "backwards-range", BAD_REQUEST, "The range is backwards",
        "A range of positions or times ends before it begins.";
    PositionBeyondEnd = "position-beyond-end", BAD_REQUEST, "The position is beyond the end of the log",
        "A position is asked for that the log has not reached. The detail says where it ends.";
    InvalidCursor = "invalid-cursor", BAD_REQUEST, "Invalid cursor",
        "The cursor was not made by this API for this listing: start again without it. A cursor holds only for the path and the filters that it was made for.";
    InvalidHeader = "invalid-header", BAD_REQUEST, "Invalid header",
        "A request header does not have the form that it must have; `errors` names it.";
    InvalidConsistencyToken = "invalid-consistency-token", BAD_REQUEST, "Invalid consistency token",
        "The `Consistency-Token` was not made by this API.";
    AuthenticationRequired = "authentication-required", UNAUTHORIZED, "Sign in first",
        "The operation needs an access token in `Authorization: Bearer …`, and none was sent.";
    InvalidToken = "invalid-token", UNAUTHORIZED, "Invalid access token",
        "The access token was not issued by this API for it, or was changed.";
    TokenExpired = "token-expired", UNAUTHORIZED, "The access token has expired",
        "The access token was good once. Sign in again.";
    InvalidCredentials = "invalid-credentials", UNAUTHORIZED, "Wrong e-mail address or password",
        "No account has this e-mail address with this password. Which of the two is wrong is not told.";
    AccountPending = "account-pending", FORBIDDEN, "The account waits for approval",
        "The account may read, but not act, until staff have approved it.";
    PermissionRequired = "permission-required", FORBIDDEN, "Only for staff",
        "The operation needs a permission that an admin grants, and the account has not got it. The detail names it.";
    NotAuthor = "not-author", FORBIDDEN, "Only the author may do that",
        "The post was written by somebody else.";
    UnknownRoute = "unknown-route", NOT_FOUND, "No such path",
        "The API has nothing under this path.";
    NotFound = "not-found", NOT_FOUND, "Not found",
        "There is no such thing, or it is not for you to see; which of the two is not told. An id that is not well formed names nothing and ends here too.";
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed",
        "The path exists, but not with this method. `Allow` lists those that do.";
    BodyTimeout = "body-timeout", REQUEST_TIMEOUT, "The body came too slowly",
        "The body had not arrived whole when its time was over.";
    EmailTaken = "email-taken", CONFLICT, "The e-mail address is taken",
        "Another account signs in with this e-mail address.";
    HandleTaken = "handle-taken", CONFLICT, "The handle is taken",
        "Another account has this handle.";
    AccountNotActive = "account-not-active", CONFLICT, "The account is not active",
        "Only an active account can be staff. Approve it first.";
    ApprovalNotNeeded = "approval-not-needed", CONFLICT, "The account does not wait for approval",
        "Accounts of this role are active at once.";
    FirstAdmin = "first-admin", CONFLICT, "The first admin stays one",
        "The first admin can be neither demoted nor erased.";
    ChangeLimitReached = "change-limit-reached", CONFLICT, "Changed too often",
        "The thing has been changed as often as it may be (docs/limits.md). It stays as it is; what takes back is still done: unlike, unfollow, make private, delete, revoke, erase.";
    NotSealed = "not-sealed", CONFLICT, "Not sealed yet",
        "No signed checkpoint reaches so far yet. One comes each second: try again after `Retry-After` seconds.";
    ConcurrentModification = "concurrent-modification", CONFLICT, "Others were faster",
        "Others changed the same thing again and again while this request was tried. Send it again after `Retry-After` seconds.";
    RebuildRunning = "rebuild-running", CONFLICT, "The read model is being rebuilt",
        "What is parked cannot be retried or given up now: the new tables would not know of it. Wait until the rebuild is over, or cancel it.";
    RebuildOver = "rebuild-over", CONFLICT, "The rebuild is over",
        "It was done, or had failed, before it could be cancelled.";
    PositionUnknown = "position-unknown", GONE, "The position is not in this log",
        "The log does not have the write that the `Consistency-Token` is of: it comes from another log, from a part of this one that was lost with a restored backup, or was changed. Forget the token.";
    VersionMismatch = "version-mismatch", PRECONDITION_FAILED, "Changed in the meantime",
        "`If-Match` names a version that is no longer the current one. Read again, and decide again.";
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE, "The body is too large",
        "The body has more bytes than the limit.";
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "Unsupported content type",
        "The body must be sent as `application/json`, not compressed.";
    ValidationFailed = "validation-failed", UNPROCESSABLE_ENTITY, "Some values are not allowed",
        "The body is well formed, but values break a rule. `errors` points at every one of them.";
    CannotFollowOneself = "cannot-follow-oneself", UNPROCESSABLE_ENTITY, "Nobody can follow themselves",
        "The account to follow is one's own.";
    IdempotencyKeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "The idempotency key was used before",
        "The same `Idempotency-Key` came before with another request. Nothing was done; use a new key for a new request.";
    PreconditionRequired = "precondition-required", PRECONDITION_REQUIRED, "If-Match is required",
        "The operation changes or deletes what others may change too. Send the `ETag` that you read as `If-Match`.";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal error",
        "Something is wrong on our side. Report the `request_id`.";
    ProjectionBehind = "projection-behind", SERVICE_UNAVAILABLE, "The read model is behind",
        "The read model had not reached the `Consistency-Token` when the waiting time was over. Try again after `Retry-After` seconds.";
    ReadModelChanging = "read-model-changing", SERVICE_UNAVAILABLE, "The read model is another version's",
        "An update is being rolled out, and the tables of this read model are not yet, or no more, those that this process reads. Try again after `Retry-After` seconds.";
    Busy = "busy", SERVICE_UNAVAILABLE, "Too busy",
        "More work is waiting than can be done soon. Nothing was done; try again after `Retry-After` seconds.";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Unavailable",
        "The database cannot be reached. A write may or may not have happened: send it again with the same `Idempotency-Key`.";
    HandlerTimeout = "handler-timeout", SERVICE_UNAVAILABLE, "It took too long",
        "The request was given up. A write may or may not have happened: send it again with the same `Idempotency-Key`.";
}

impl ProblemCode {
    /// The problem with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.as_str() == code)
    }

    /// The `type` of the problem: a URI reference that this API serves (RFC 9457, 3.1.1).
    #[must_use]
    pub fn type_uri(self) -> String {
        format!("/problems/{}", self.as_str())
    }

    /// After how many seconds a client may try again; none where trying again is of no use.
    #[must_use]
    pub const fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::NotSealed
            | Self::ConcurrentModification
            | Self::ProjectionBehind
            | Self::ReadModelChanging
            | Self::Busy
            | Self::Unavailable
            | Self::HandlerTimeout => Some(1),
            _ => None,
        }
    }

    /// The catalogue as the page `docs/problems.md`.
    #[must_use]
    pub fn catalogue() -> String {
        let mut page = String::from(
            "# Problems\n\n\
             Every error of the HTTP API is a problem (`application/problem+json`, RFC 9457) with one of these codes.\n\
             The codes are frozen: act on `code`, never on the texts. `GET /problems/{code}` serves each entry.\n\
             This page is made from `api/src/problem/code.rs`; a test compares the two, and with `TOUCHLINE_UPDATE_DOCS=1` writes it anew.\n\n\
             | status | code | meaning |\n|---|---|---|\n",
        );
        for code in Self::ALL {
            page.push_str("| ");
            page.push_str(code.status().as_str());
            page.push_str(" | `");
            page.push_str(code.as_str());
            page.push_str("` | ");
            page.push_str(code.meaning());
            page.push_str(" |\n");
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::ProblemCode;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_kebab_case_and_ordered_by_status() {
        let codes: BTreeSet<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), ProblemCode::ALL.len());
        assert!(ProblemCode::ALL.is_sorted_by_key(|code| code.status().as_u16()));
        for code in ProblemCode::ALL {
            assert!(
                code.as_str()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-')
            );
            assert_eq!(ProblemCode::from_code(code.as_str()), Some(*code));
        }
    }

    #[test]
    fn what_can_be_tried_again_says_when() {
        for code in ProblemCode::ALL {
            if code.status().as_u16() == 503 {
                assert!(code.retry_after_s().is_some(), "{code:?}");
            }
        }
    }
}

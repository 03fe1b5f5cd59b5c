//! Rows to answers.

use crate::page::{Page, one_more};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::types::Json;
use touchline_domain::id::UserId;
use touchline_domain::identity::RoleDetails;
use uuid::Uuid;

/// A person, as others see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub user_id: UserId,
    /// The public short name.
    pub handle: String,
    /// The public full name.
    pub display_name: String,
    /// The sport that the account is about.
    pub sport: String,
    /// As told by the person: the word of [`Gender`](touchline_domain::identity::Gender).
    pub gender: String,
    /// The role with its fields.
    pub role: RoleDetails,
    /// What the person tells about themselves; may be empty.
    pub bio: String,
    /// Where the person is, in words; may be empty.
    pub location: String,
    /// The language; none when never told.
    pub locale: Option<String>,
    /// The IANA time zone; none when never told.
    pub time_zone: Option<String>,
    /// The word of [`AccountStatus`](touchline_domain::identity::AccountStatus).
    pub status: String,
    /// When the account was registered.
    pub registered_at: DateTime<Utc>,
    /// The version of the profile; 0 while it was never changed.
    pub profile_version: i64,
    /// How many follow this person.
    pub follower_count: i64,
    /// How many this person follows.
    pub following_count: i64,
}

/// A row of `users`, for the checked statements.
struct UserRow {
    user_id: Uuid,
    handle: String,
    display_name: String,
    sport: String,
    gender: String,
    role_details: Json<RoleDetails>,
    bio: String,
    location: String,
    locale: Option<String>,
    time_zone: Option<String>,
    status: String,
    registered_at: DateTime<Utc>,
    profile_version: i64,
    follower_count: i64,
    following_count: i64,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            user_id: UserId::new(row.user_id),
            handle: row.handle,
            display_name: row.display_name,
            sport: row.sport,
            gender: row.gender,
            role: row.role_details.0,
            bio: row.bio,
            location: row.location,
            locale: row.locale,
            time_zone: row.time_zone,
            status: row.status,
            registered_at: row.registered_at,
            profile_version: row.profile_version,
            follower_count: row.follower_count,
            following_count: row.following_count,
        }
    }
}

/// The person with this id; none when nobody has it.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_id(pool: &PgPool, user_id: UserId) -> Result<Option<User>, sqlx::Error> {
    let row = sqlx::query_as!(
        UserRow,
        r#"
        SELECT users.user_id, users.handle, users.display_name, users.sport, users.gender,
               users.role_details AS "role_details: Json<RoleDetails>", users.bio, users.location,
               users.locale, users.time_zone, users.status, users.registered_at,
               users.profile_version, users.follower_count, users.following_count
        FROM users.users
        WHERE users.user_id = $1
        "#,
        user_id.uuid(),
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(User::from))
}

/// The person with this handle, in its canonical form; none when nobody has it.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_handle(pool: &PgPool, handle: &str) -> Result<Option<User>, sqlx::Error> {
    let row = sqlx::query_as!(
        UserRow,
        r#"
        SELECT users.user_id, users.handle, users.display_name, users.sport, users.gender,
               users.role_details AS "role_details: Json<RoleDetails>", users.bio, users.location,
               users.locale, users.time_zone, users.status, users.registered_at,
               users.profile_version, users.follower_count, users.following_count
        FROM users.users
        WHERE users.handle = $1
        "#,
        handle,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(User::from))
}

/// How two people stand to each other, seen by the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relation {
    /// The viewer follows the other.
    pub following: bool,
    /// The other follows the viewer.
    pub followed_by: bool,
}

/// How `viewer` and `other` stand to each other. Nobody follows themselves.
///
/// # Errors
/// When the database cannot be read.
pub async fn relation(
    pool: &PgPool,
    viewer: UserId,
    other: UserId,
) -> Result<Relation, sqlx::Error> {
    sqlx::query_as!(
        Relation,
        r#"
        SELECT EXISTS (SELECT FROM users.follows
                       WHERE follows.follower_id = $1 AND follows.followee_id = $2) AS "following!",
               EXISTS (SELECT FROM users.follows
                       WHERE follows.follower_id = $2 AND follows.followee_id = $1) AS "followed_by!"
        "#,
        viewer.uuid(),
        other.uuid(),
    )
    .fetch_one(pool)
    .await
}

/// How many follow a person, and whether the viewer is one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Followership {
    /// How many follow the person.
    pub follower_count: i64,
    /// Whether the viewer does, and is counted.
    pub includes_viewer: bool,
}

/// How many follow `user_id`, and whether `viewer` is one of them, as of one moment. None when
/// nobody has the id.
///
/// # Errors
/// When the database cannot be read.
pub async fn followership(
    pool: &PgPool,
    user_id: UserId,
    viewer: UserId,
) -> Result<Option<Followership>, sqlx::Error> {
    sqlx::query_as!(
        Followership,
        r#"
        SELECT users.follower_count,
               EXISTS (SELECT FROM users.follows
                       WHERE follows.follower_id = $2 AND follows.followee_id = $1)
                   AS "includes_viewer!"
        FROM users.users
        WHERE users.user_id = $1
        "#,
        user_id.uuid(),
        viewer.uuid(),
    )
    .fetch_optional(pool)
    .await
}

/// Where a page of followers or followed ends: the position of its last follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowCursor {
    /// The position of the event that began the follow.
    pub position: i64,
}

/// A person in a list of followers or followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowListed {
    /// Who.
    pub user_id: UserId,
    /// The public short name.
    pub handle: String,
    /// The public full name.
    pub display_name: String,
    /// The word of [`Role`](touchline_domain::identity::Role).
    pub role: String,
    /// The sport that the account is about.
    pub sport: String,
    /// Since when the one follows the other.
    pub followed_at: DateTime<Utc>,
    /// The position of the event that began it.
    pub position: i64,
    /// How the viewer and this person stand to each other; nothing for an anonymous viewer.
    pub relation: Relation,
}

/// A row of a list, for the checked statements.
struct FollowRow {
    user_id: Uuid,
    handle: String,
    display_name: String,
    role: String,
    sport: String,
    followed_at: DateTime<Utc>,
    position: i64,
    following: bool,
    followed_by: bool,
}

impl From<FollowRow> for FollowListed {
    fn from(row: FollowRow) -> Self {
        Self {
            user_id: UserId::new(row.user_id),
            handle: row.handle,
            display_name: row.display_name,
            role: row.role,
            sport: row.sport,
            followed_at: row.followed_at,
            position: row.position,
            relation: Relation {
                following: row.following,
                followed_by: row.followed_by,
            },
        }
    }
}

/// A page of those who follow `user_id`, the newest follow first, with how each stands to `viewer`.
///
/// # Errors
/// When the database cannot be read.
pub async fn followers(
    pool: &PgPool,
    user_id: UserId,
    viewer: Option<UserId>,
    after: Option<FollowCursor>,
    limit: usize,
) -> Result<Page<FollowListed, FollowCursor>, sqlx::Error> {
    let rows = sqlx::query_as!(
        FollowRow,
        r#"
        SELECT users.user_id, users.handle, users.display_name, users.role, users.sport,
               follows.followed_at, follows.position,
               EXISTS (SELECT FROM users.follows AS own
                       WHERE own.follower_id = $4 AND own.followee_id = users.user_id) AS "following!",
               EXISTS (SELECT FROM users.follows AS own
                       WHERE own.follower_id = users.user_id AND own.followee_id = $4) AS "followed_by!"
        FROM users.follows JOIN users.users ON users.user_id = follows.follower_id
        WHERE follows.followee_id = $1 AND follows.position < $2
        ORDER BY follows.position DESC
        LIMIT $3
        "#,
        user_id.uuid(),
        before(after),
        one_more(limit),
        viewer.map(UserId::uuid),
    )
    .fetch_all(pool)
    .await?;
    Ok(page(rows, limit))
}

/// A page of those whom `user_id` follows, the newest follow first, with how each stands to
/// `viewer`.
///
/// # Errors
/// When the database cannot be read.
pub async fn following(
    pool: &PgPool,
    user_id: UserId,
    viewer: Option<UserId>,
    after: Option<FollowCursor>,
    limit: usize,
) -> Result<Page<FollowListed, FollowCursor>, sqlx::Error> {
    let rows = sqlx::query_as!(
        FollowRow,
        r#"
        SELECT users.user_id, users.handle, users.display_name, users.role, users.sport,
               follows.followed_at, follows.position,
               EXISTS (SELECT FROM users.follows AS own
                       WHERE own.follower_id = $4 AND own.followee_id = users.user_id) AS "following!",
               EXISTS (SELECT FROM users.follows AS own
                       WHERE own.follower_id = users.user_id AND own.followee_id = $4) AS "followed_by!"
        FROM users.follows JOIN users.users ON users.user_id = follows.followee_id
        WHERE follows.follower_id = $1 AND follows.position < $2
        ORDER BY follows.position DESC
        LIMIT $3
        "#,
        user_id.uuid(),
        before(after),
        one_more(limit),
        viewer.map(UserId::uuid),
    )
    .fetch_all(pool)
    .await?;
    Ok(page(rows, limit))
}

/// The position that every row of the page lies before.
fn before(after: Option<FollowCursor>) -> i64 {
    after.map_or(i64::MAX, |cursor| cursor.position)
}

fn page(rows: Vec<FollowRow>, limit: usize) -> Page<FollowListed, FollowCursor> {
    let rows = rows.into_iter().map(FollowListed::from).collect();
    Page::cut(rows, limit, |row: &FollowListed| FollowCursor {
        position: row.position,
    })
}

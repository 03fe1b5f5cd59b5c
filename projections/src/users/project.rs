//! Events to rows.

use super::{sample, sweep};
use crate::erased::{self, People};
use crate::projection::{Derived, ProjectError, Projection, SampledTable, decode};
use crate::relation::{Columns, Relations};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use std::collections::{BTreeMap, BTreeSet};
use touchline_domain::event::Event as _;
use touchline_domain::identity::{
    AccountEvent, AccountRegistered, AccountStatus, Gender, Role, RoleDetails,
};
use touchline_domain::personal::Personal;
use touchline_domain::users::{FollowEvent, ProfileChanged, ProfileEvent};
use touchline_eventstore::LogEvent;
use uuid::Uuid;

/// Folds accounts, profiles and follows into the schema `users`.
#[derive(Debug, Clone, Copy, Default)]
pub struct UsersProjection;

impl Projection for UsersProjection {
    const NAME: &'static str = "users";
    const VERSION: i32 = 3;
    const SCHEMA: &'static str = include_str!("schema.sql");
    const SAMPLED: &'static [SampledTable] = sample::SAMPLED;
    const DERIVED: &'static [Derived] = sample::DERIVED;
    const REFERENCES: &'static [(&'static str, &'static [&'static str])] = sample::REFERENCES;
    const TOMBSTONES: &'static [&'static str] = &["erased"];

    fn handles(&self, event_type: &str) -> bool {
        event_type.starts_with("identity.") || event_type.starts_with("users.")
    }

    async fn project(
        &self,
        connection: &mut PgConnection,
        events: &[LogEvent],
    ) -> Result<(), ProjectError> {
        for part in erased::parts(events) {
            let fold = erased::fold(connection, part).await?;
            write(connection, fold).await?;
        }
        Ok(())
    }

    async fn sweep(&self, connection: &mut PgConnection, rows: i64) -> Result<(), sqlx::Error> {
        sweep::ERASED.step(connection, rows).await.map(drop)
    }
}

async fn write(connection: &mut PgConnection, fold: Fold) -> Result<(), sqlx::Error> {
    // The follows come first: a person new in this batch is counted from their rows.
    unfollow(connection, &fold.follows.outdated()).await?;
    follow(connection, &fold.follows.begun()).await?;
    register(connection, fold.registered).await?;
    change(connection, fold.changed).await?;
    forget(connection, &fold.erased).await
}

/// What a batch changes, with the later event winning.
#[derive(Default)]
struct Fold {
    registered: BTreeMap<Uuid, Newcomer>,
    /// Who is to be forgotten, with all that this batch writes of them.
    erased: BTreeSet<Uuid>,
    /// What changed of people who were registered before this batch.
    changed: BTreeMap<Uuid, Changed>,
    follows: Relations,
}

struct Newcomer {
    handle: String,
    display_name: String,
    role: Role,
    sport: String,
    gender: Gender,
    role_details: RoleDetails,
    status: AccountStatus,
    registered_at: DateTime<Utc>,
    profile: Changed,
}

impl Newcomer {
    /// None for somebody whose key is gone: the event that erases them lies ahead.
    fn of(account: AccountRegistered) -> Option<Self> {
        Some(Self {
            handle: account.handle.into_known()?.into(),
            display_name: account.display_name.into_known()?.into(),
            role: account.role,
            sport: account.sport.into_known()?.into(),
            gender: account.gender.into_known()?,
            role_details: account.role_details.into_known()?,
            status: account.status,
            registered_at: account.registered_at,
            profile: Changed::default(),
        })
    }
}

/// The last value of each field that changed.
#[derive(Default)]
struct Changed {
    display_name: Option<String>,
    bio: Option<String>,
    location: Option<String>,
    locale: Option<String>,
    time_zone: Option<String>,
    status: Option<AccountStatus>,
    profile_version: Option<i64>,
}

impl People for Fold {
    fn fold(events: &[LogEvent], erased: &BTreeSet<Uuid>) -> Result<Self, ProjectError> {
        let mut fold = Self::default();
        for event in events {
            fold.apply(event, erased)?;
        }
        Ok(fold)
    }

    fn mentioned(&self) -> BTreeSet<Uuid> {
        let registered = self.registered.keys().copied();
        registered.chain(self.follows.members()).collect()
    }
}

impl Fold {
    fn apply(&mut self, event: &LogEvent, erased: &BTreeSet<Uuid>) -> Result<(), ProjectError> {
        if AccountEvent::knows(&event.event_type) {
            match decode(event)? {
                AccountEvent::AccountRegistered(account) => {
                    let user_id = account.user_id.uuid();
                    // Nothing can have changed of somebody who was not there.
                    self.changed.remove(&user_id);
                    if let Some(registered) = Newcomer::of(account)
                        && !erased.contains(&user_id)
                    {
                        self.registered.insert(user_id, registered);
                    }
                }
                AccountEvent::AccountErased(person) => {
                    self.erased.insert(person.user_id.uuid());
                }
                AccountEvent::AccountApproved(approved) => {
                    self.changed(approved.user_id.uuid()).status = Some(AccountStatus::Active);
                }
                AccountEvent::RootAppointed(_)
                | AccountEvent::PermissionGranted(_)
                | AccountEvent::PermissionRevoked(_) => {}
            }
        } else if ProfileEvent::knows(&event.event_type) {
            let ProfileEvent::ProfileChanged(profile) = decode(event)?;
            self.changed(profile.user_id.uuid())
                .apply(profile, event.sequence);
        } else if FollowEvent::knows(&event.event_type) {
            let follow: FollowEvent = decode(event)?;
            let (by, whom) = follow.pair();
            let pair = (by.uuid(), whom.uuid());
            if erased.contains(&pair.0) || erased.contains(&pair.1) {
                return Ok(());
            }
            match follow {
                FollowEvent::UserFollowed(follow) => {
                    self.follows.begin(pair, event.position, follow.followed_at);
                }
                FollowEvent::UserUnfollowed(_) => self.follows.end(pair),
            }
        }
        Ok(())
    }

    fn changed(&mut self, user_id: Uuid) -> &mut Changed {
        match self.registered.get_mut(&user_id) {
            Some(registered) => &mut registered.profile,
            None => self.changed.entry(user_id).or_default(),
        }
    }
}

impl Changed {
    fn apply(&mut self, profile: ProfileChanged, sequence: i64) {
        fn replace<T: Into<String>>(field: &mut Option<String>, value: Option<Personal<T>>) {
            if let Some(Personal::Known(value)) = value {
                *field = Some(value.into());
            }
        }
        replace(&mut self.display_name, profile.display_name);
        replace(&mut self.bio, profile.bio);
        replace(&mut self.location, profile.location);
        replace(&mut self.locale, profile.locale);
        replace(&mut self.time_zone, profile.time_zone);
        self.profile_version = Some(sequence);
    }
}

/// Forgets people at once; that they followed and were followed goes in steps.
async fn forget(connection: &mut PgConnection, erased: &BTreeSet<Uuid>) -> Result<(), sqlx::Error> {
    if erased.is_empty() {
        return Ok(());
    }
    let erased: Vec<Uuid> = erased.iter().copied().collect();
    sqlx::query(
        "WITH marked AS (
            INSERT INTO erased (user_id) SELECT * FROM unnest($1::uuid[]) ON CONFLICT DO NOTHING
        )
        DELETE FROM users WHERE users.user_id = ANY ($1)",
    )
    .bind(erased)
    .execute(connection)
    .await
    .map(drop)
}

async fn unfollow(connection: &mut PgConnection, ended: &Columns) -> Result<(), sqlx::Error> {
    if ended.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "WITH ended AS (
            DELETE FROM follows
            USING unnest($1::uuid[], $2::uuid[]) AS old (follower_id, followee_id)
            WHERE follows.follower_id = old.follower_id AND follows.followee_id = old.followee_id
            RETURNING follows.follower_id, follows.followee_id
        ), counted AS (
            SELECT side.user_id, sum(side.follower) AS followers, sum(side.following) AS following
            FROM (SELECT ended.followee_id AS user_id, 1 AS follower, 0 AS following FROM ended
                  UNION ALL SELECT ended.follower_id, 0, 1 FROM ended) AS side
            GROUP BY side.user_id
        )
        UPDATE users SET follower_count = users.follower_count - counted.followers,
                         following_count = users.following_count - counted.following
        FROM counted WHERE users.user_id = counted.user_id",
    )
    .bind(&ended.left)
    .bind(&ended.right)
    .execute(connection)
    .await
    .map(drop)
}

async fn follow(connection: &mut PgConnection, begun: &Columns) -> Result<(), sqlx::Error> {
    if begun.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "WITH begun AS (
            INSERT INTO follows (follower_id, followee_id, position, followed_at)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[])
            ON CONFLICT DO NOTHING
            RETURNING follows.follower_id, follows.followee_id
        ), counted AS (
            SELECT side.user_id, sum(side.follower) AS followers, sum(side.following) AS following
            FROM (SELECT begun.followee_id AS user_id, 1 AS follower, 0 AS following FROM begun
                  UNION ALL SELECT begun.follower_id, 0, 1 FROM begun) AS side
            GROUP BY side.user_id
        )
        UPDATE users SET follower_count = users.follower_count + counted.followers,
                         following_count = users.following_count + counted.following
        FROM counted WHERE users.user_id = counted.user_id",
    )
    .bind(&begun.left)
    .bind(&begun.right)
    .bind(&begun.positions)
    .bind(&begun.times)
    .execute(connection)
    .await
    .map(drop)
}

async fn register(
    connection: &mut PgConnection,
    registered: BTreeMap<Uuid, Newcomer>,
) -> Result<(), sqlx::Error> {
    if registered.is_empty() {
        return Ok(());
    }
    let mut rows = NewUsers::default();
    for (user_id, person) in registered {
        rows.push(user_id, person);
    }
    sqlx::query(
        "INSERT INTO users (user_id, handle, display_name, role, sport, gender, role_details, bio,
                            location, locale, time_zone, status, registered_at, profile_version,
                            follower_count, following_count)
         SELECT new.user_id, new.handle, new.display_name, new.role, new.sport, new.gender,
                new.role_details, coalesce(new.bio, ''), coalesce(new.location, ''), new.locale,
                new.time_zone, new.status, new.registered_at, new.profile_version,
                (SELECT count(*) FROM follows WHERE follows.followee_id = new.user_id),
                (SELECT count(*) FROM follows WHERE follows.follower_id = new.user_id)
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                     $7::jsonb[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
                     $13::timestamptz[], $14::bigint[])
              AS new (user_id, handle, display_name, role, sport, gender, role_details, bio,
                      location, locale, time_zone, status, registered_at, profile_version)",
    )
    .bind(rows.user_ids)
    .bind(rows.handles)
    .bind(rows.display_names)
    .bind(rows.roles)
    .bind(rows.sports)
    .bind(rows.genders)
    .bind(rows.role_details)
    .bind(rows.bios)
    .bind(rows.locations)
    .bind(rows.locales)
    .bind(rows.time_zones)
    .bind(rows.statuses)
    .bind(rows.registered_at)
    .bind(rows.profile_versions)
    .execute(connection)
    .await
    .map(drop)
}

/// New rows of `users`, as columns.
#[derive(Default)]
struct NewUsers {
    user_ids: Vec<Uuid>,
    handles: Vec<String>,
    display_names: Vec<String>,
    roles: Vec<&'static str>,
    sports: Vec<String>,
    genders: Vec<&'static str>,
    role_details: Vec<Json<RoleDetails>>,
    bios: Vec<Option<String>>,
    locations: Vec<Option<String>>,
    locales: Vec<Option<String>>,
    time_zones: Vec<Option<String>>,
    statuses: Vec<&'static str>,
    registered_at: Vec<DateTime<Utc>>,
    profile_versions: Vec<i64>,
}

impl NewUsers {
    fn push(&mut self, user_id: Uuid, account: Newcomer) {
        let profile = account.profile;
        self.user_ids.push(user_id);
        self.handles.push(account.handle);
        let name = profile.display_name;
        self.display_names
            .push(name.unwrap_or(account.display_name));
        self.roles.push(account.role.as_str());
        self.sports.push(account.sport);
        self.genders.push(account.gender.as_str());
        self.role_details.push(Json(account.role_details));
        self.bios.push(profile.bio);
        self.locations.push(profile.location);
        self.locales.push(profile.locale);
        self.time_zones.push(profile.time_zone);
        let status = profile.status.unwrap_or(account.status);
        self.statuses.push(status.as_str());
        self.registered_at.push(account.registered_at);
        self.profile_versions
            .push(profile.profile_version.unwrap_or(0));
    }
}

async fn change(
    connection: &mut PgConnection,
    changed: BTreeMap<Uuid, Changed>,
) -> Result<(), sqlx::Error> {
    fn column<T>(rows: &mut [Changed], take: impl Fn(&mut Changed) -> Option<T>) -> Vec<Option<T>> {
        rows.iter_mut().map(take).collect()
    }
    if changed.is_empty() {
        return Ok(());
    }
    let mut user_ids = Vec::with_capacity(changed.len());
    let mut rows = Vec::with_capacity(changed.len());
    for (user_id, change) in changed {
        user_ids.push(user_id);
        rows.push(change);
    }
    sqlx::query(
        "UPDATE users SET display_name = coalesce(changed.display_name, users.display_name),
                          bio = coalesce(changed.bio, users.bio),
                          location = coalesce(changed.location, users.location),
                          locale = coalesce(changed.locale, users.locale),
                          time_zone = coalesce(changed.time_zone, users.time_zone),
                          status = coalesce(changed.status, users.status),
                          profile_version = coalesce(changed.profile_version, users.profile_version)
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                     $7::text[], $8::bigint[])
              AS changed (user_id, display_name, bio, location, locale, time_zone, status,
                          profile_version)
         WHERE users.user_id = changed.user_id",
    )
    .bind(user_ids)
    .bind(column(&mut rows, |row| row.display_name.take()))
    .bind(column(&mut rows, |row| row.bio.take()))
    .bind(column(&mut rows, |row| row.location.take()))
    .bind(column(&mut rows, |row| row.locale.take()))
    .bind(column(&mut rows, |row| row.time_zone.take()))
    .bind(column(&mut rows, |row| {
        row.status.map(AccountStatus::as_str)
    }))
    .bind(column(&mut rows, |row| row.profile_version))
    .execute(connection)
    .await
    .map(drop)
}

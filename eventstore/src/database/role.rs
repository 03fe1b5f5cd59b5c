//! The role that the application runs as: one for each database, named after its oid (ADR-0028). It
//! stays the same when the database is renamed, and a restored copy has another.

use super::DatabaseError;
use sqlx::migrate::{Migration, Migrator};
use sqlx::{Executor as _, PgConnection};

/// What the migrations call the role of the database that they run on.
const PLACEHOLDER: &str = "touchline_app";
/// Where the first migration begins, after the part that made one role for the whole cluster.
const FIRST_STATEMENT: &str = "CREATE SCHEMA log;";

const NAME: &str =
    "SELECT 'touchline_app_' || oid FROM pg_database WHERE datname = current_database()";
const BECOME: &str = "SELECT set_config('role', 'touchline_app_' || oid, false)
    FROM pg_database WHERE datname = current_database()";
const MAKE: &str = include_str!("role.sql");
const TAKE_RIGHTS: &str = include_str!("rights.sql");

/// What PostgreSQL answers to what a user may not do.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// What PostgreSQL answers to a role that is not there.
const INVALID_PARAMETER_VALUE: &str = "22023";

/// Lets the session run as the application.
pub(super) async fn become_application(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute(BECOME).await.map(drop)
}

/// Whether the user of the connection can run as the application.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    let Err(error) = become_application(connection).await else {
        return Ok(());
    };
    let (role, user) = names(connection).await?;
    Err(match code(&error).as_deref() {
        Some(INVALID_PARAMETER_VALUE) => DatabaseError::RoleMissing { role },
        Some(INSUFFICIENT_PRIVILEGE) => DatabaseError::RoleNotGranted { role, user },
        _ => error.into(),
    })
}

/// Makes the role, unless somebody has, and returns its name.
pub(super) async fn make(connection: &mut PgConnection) -> Result<String, DatabaseError> {
    let made = connection.execute(MAKE).await;
    let (role, user) = names(connection).await?;
    match made {
        Ok(_) => Ok(role),
        Err(error) if code(&error).as_deref() == Some(INSUFFICIENT_PRIVILEGE) => {
            Err(DatabaseError::RoleRefused { role, user })
        }
        Err(error) => Err(error.into()),
    }
}

/// Gives it what earlier roles had here, and lets nobody else connect.
pub(super) async fn take_rights(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    let taken = connection.execute(TAKE_RIGHTS).await;
    let (role, user) = names(connection).await?;
    let open = "SELECT has_database_privilege('public', current_database(), 'CONNECT')";
    match taken {
        Ok(_) if !sqlx::query_scalar(open).fetch_one(connection).await? => Ok(()),
        // To who may not revoke it, PostgreSQL only gives a warning.
        Ok(_) => Err(DatabaseError::RightsRefused { role, user }),
        Err(error) if code(&error).as_deref() == Some(INSUFFICIENT_PRIVILEGE) => {
            tracing::debug!(%error, "database: the rights were not taken over");
            Err(DatabaseError::RightsRefused { role, user })
        }
        Err(error) => Err(error.into()),
    }
}

/// `migrator` for a database whose application runs as `role`. The checksums are those of the files.
pub(super) fn migrations_for(migrator: &Migrator, role: &str) -> Migrator {
    let migrations = migrator.iter().map(|migration| Migration {
        sql: without_shared_role(&migration.sql)
            .replace(PLACEHOLDER, role)
            .into(),
        ..migration.clone()
    });
    Migrator {
        migrations: migrations.collect(),
        ..Migrator::DEFAULT
    }
}

/// A migration without what made one role for the whole cluster.
fn without_shared_role(sql: &str) -> &str {
    match sql.find(FIRST_STATEMENT) {
        Some(at) => sql.get(at..).unwrap_or(sql),
        None => sql,
    }
}

/// The role, and the user of the connection.
async fn names(connection: &mut PgConnection) -> Result<(String, String), sqlx::Error> {
    let role = sqlx::query_scalar(NAME).fetch_one(&mut *connection).await?;
    let user = sqlx::query_scalar("SELECT session_user::text")
        .fetch_one(connection)
        .await?;
    Ok((role, user))
}

fn code(error: &sqlx::Error) -> Option<String> {
    error
        .as_database_error()?
        .code()
        .map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::super::MIGRATOR;
    use super::*;

    #[test]
    fn migrations_name_the_role_of_their_database_and_make_none() {
        let migrator = migrations_for(&MIGRATOR, "touchline_app_42");
        let known = MIGRATOR.iter().zip(migrator.iter());
        for (file, ours) in known {
            assert_eq!(file.checksum, ours.checksum);
            assert_eq!(file.version, ours.version);
            assert!(!ours.sql.contains("CREATE ROLE"), "{}", ours.description);
            let mentions = ours.sql.matches("touchline_app").count();
            assert_eq!(mentions, ours.sql.matches("touchline_app_42").count());
        }
        let first = migrator.iter().next().unwrap();
        assert!(first.sql.starts_with("CREATE SCHEMA log;\nGRANT USAGE"));
    }
}

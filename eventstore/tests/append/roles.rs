//! Each database has a role of its own, and nobody but it and its user comes in (ADR-0028).

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection, PgPool};
use touchline_eventstore::database::{Database, DatabaseError, MIGRATOR};
use touchline_testkit::{TestDatabase, empty_database};

/// An empty database that belongs to a user of its own.
struct Tenant {
    database: TestDatabase,
    user: String,
    options: PgConnectOptions,
}

impl Tenant {
    async fn new(rights: &str) -> Self {
        let database = empty_database().await;
        let name = database.name().to_owned();
        let user = format!("tenant_of_{name}");
        let statements = format!(
            "CREATE ROLE {user} LOGIN {rights} PASSWORD 'secret'; ALTER DATABASE {name} OWNER TO {user}"
        );
        let options: PgConnectOptions = database.url.parse().unwrap();
        let tenant = Self {
            options: options.username(&user).password("secret"),
            database,
            user,
        };
        tenant.run(&statements).await;
        tenant
    }

    /// As the superuser.
    async fn run(&self, statements: &str) {
        sqlx::raw_sql(statements)
            .execute(&self.database.pool)
            .await
            .unwrap();
    }

    /// What Touchline connects to.
    fn touchline(&self) -> Database {
        Database::new(self.options.to_url_lossy().as_str()).unwrap()
    }

    async fn connect_to(&self, other: &Self) -> Result<PgConnection, sqlx::Error> {
        let options = self.options.clone().database(other.database.name());
        options.connect().await
    }

    /// Gives the database back, so that the user can go.
    async fn leave(self) {
        let Self { database, user, .. } = self;
        let statements = format!(
            "ALTER DATABASE {} OWNER TO CURRENT_USER; REASSIGN OWNED BY {user} TO CURRENT_USER; DROP OWNED BY {user}; DROP ROLE {user}",
            database.name()
        );
        sqlx::raw_sql(&statements)
            .execute(&database.pool)
            .await
            .unwrap();
    }
}

fn code(error: &sqlx::Error) -> String {
    let database = error.as_database_error().unwrap();
    database.code().unwrap().into_owned()
}

async fn reads_passwords(pool: &PgPool) -> bool {
    let read = sqlx::query("SELECT FROM credentials.password_hashes");
    read.execute(pool).await.is_ok()
}

/// How much is owned by, or granted to, other roles of Touchline's in a database.
async fn rights_of_others(database: &TestDatabase) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_shdepend JOIN pg_roles ON pg_roles.oid = refobjid
         WHERE (dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                OR classid = 'pg_database'::regclass
                AND objid = (SELECT oid FROM pg_database WHERE datname = current_database()))
           AND rolname ~ '^touchline_app' AND rolname <> $1",
    )
    .bind(database.role())
    .fetch_one(&database.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn the_user_of_one_database_reaches_nothing_of_another() {
    let (ours, theirs) = (
        Tenant::new("CREATEROLE").await,
        Tenant::new("CREATEROLE").await,
    );
    for tenant in [&ours, &theirs] {
        tenant.touchline().migrate().await.unwrap();
        tenant.touchline().migrate().await.unwrap();
        tenant.touchline().check().await.unwrap();
        assert!(reads_passwords(&tenant.touchline().pool(1)).await);
    }
    let refused = theirs.connect_to(&ours).await.unwrap_err();
    assert_eq!(code(&refused), "42501", "{refused}");
    let mut at_home = theirs.connect_to(&theirs).await.unwrap();
    let become_ours = format!("SET ROLE {}", ours.database.role());
    let refused = sqlx::raw_sql(&become_ours)
        .execute(&mut at_home)
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "42501", "{refused}");
    drop(at_home);
    ours.leave().await;
    theirs.leave().await;
}

#[tokio::test]
async fn a_database_leaves_the_role_that_all_once_shared() {
    let database = empty_database().await;
    // As every build before did, and a read model that the application made.
    MIGRATOR.run(&database.pool).await.unwrap();
    let read_model =
        "SET ROLE touchline_app; CREATE SCHEMA people; CREATE TABLE people.names (id serial);
        RESET ROLE";
    sqlx::raw_sql(read_model)
        .execute(&database.pool)
        .await
        .unwrap();
    let touchline = Database::new(&database.url).unwrap();
    let lacking = touchline.check().await.unwrap_err();
    assert!(
        matches!(&lacking, DatabaseError::RoleMissing { role } if role == database.role()),
        "{lacking}"
    );
    assert!(rights_of_others(&database).await > 20);
    touchline.migrate().await.unwrap();
    touchline.check().await.unwrap();
    assert_eq!(rights_of_others(&database).await, 0);
    let pool = touchline.pool(1);
    assert!(reads_passwords(&pool).await);
    for (statement, is_allowed) in [
        ("DROP TABLE people.names", true),
        ("DROP SCHEMA people", true),
        ("CREATE SCHEMA more", true),
        ("UPDATE seals.keys SET secret = secret", true),
        ("UPDATE seals.keys SET name = name", false),
        ("DELETE FROM log.events", false),
    ] {
        let done = sqlx::raw_sql(statement).execute(&pool).await;
        assert_eq!(done.is_ok(), is_allowed, "{statement}");
    }
}

/// A restored backup under another name, in the same cluster.
#[tokio::test]
async fn a_copy_gets_a_role_of_its_own() {
    let original = touchline_testkit::database().await;
    let copy = empty_database().await;
    let name = copy.name().to_owned();
    copy.pool.close().await;
    original.pool.close().await;
    let server: PgConnectOptions = copy.url.parse().unwrap();
    let mut server = server.database("postgres").connect().await.unwrap();
    for statement in [
        format!("DROP DATABASE {name}"),
        format!("CREATE DATABASE {name} TEMPLATE {}", original.name()),
    ] {
        sqlx::raw_sql(&statement)
            .execute(&mut server)
            .await
            .unwrap();
    }
    let touchline = Database::new(&copy.url).unwrap();
    let lacking = touchline.check().await.unwrap_err();
    assert!(
        lacking.to_string().contains("touchline migrate"),
        "{lacking}"
    );
    touchline.migrate().await.unwrap();
    let pool = touchline.pool(1);
    assert!(reads_passwords(&pool).await);
    let role: String = sqlx::query_scalar("SELECT current_user::text")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_ne!(role, original.role());
    let still = Database::new(&original.url).unwrap().pool(1);
    assert!(reads_passwords(&still).await, "the original is as it was");
    pool.close().await;
    let drop_copy = format!("DROP DATABASE {name} WITH (FORCE); DROP ROLE {role}");
    for statement in drop_copy.split("; ") {
        sqlx::raw_sql(statement).execute(&mut server).await.unwrap();
    }
}

#[tokio::test]
async fn a_user_who_may_make_no_roles_is_told_the_cure() {
    let tenant = Tenant::new("NOCREATEROLE").await;
    let refused = tenant.touchline().migrate().await.unwrap_err();
    let line = refused.to_string();
    assert!(
        matches!(refused, DatabaseError::RoleRefused { .. }),
        "{line}"
    );
    let cure = line.split('`').nth(1).unwrap();
    let role = tenant.database.role();
    assert!(cure.contains(role) && cure.contains(&tenant.user), "{line}");
    tenant.run(cure).await;
    tenant.touchline().migrate().await.unwrap();
    tenant.touchline().check().await.unwrap();
    assert!(reads_passwords(&tenant.touchline().pool(1)).await);

    // Whoever only runs the application needs the role, and nothing else.
    let user = format!("runner_of_{}", tenant.database.name());
    tenant
        .run(&format!("CREATE ROLE {user} LOGIN PASSWORD 'secret'"))
        .await;
    let options = tenant.options.clone().username(&user);
    let runner = Database::new(options.to_url_lossy().as_str()).unwrap();
    runner.check().await.unwrap_err();
    tenant.run(&format!("GRANT {role} TO {user}")).await;
    runner.check().await.unwrap();
    assert!(reads_passwords(&runner.pool(1)).await);
    tenant.run(&format!("DROP ROLE {user}")).await;
    tenant.leave().await;
}

#[tokio::test]
async fn a_user_who_cannot_keep_others_out_is_told_so() {
    let tenant = Tenant::new("CREATEROLE").await;
    let (name, user) = (tenant.database.name().to_owned(), tenant.user.clone());
    tenant
        .run(&format!(
            "ALTER DATABASE {name} OWNER TO CURRENT_USER; GRANT CREATE, CONNECT ON DATABASE {name} TO {user};
             GRANT CREATE ON SCHEMA public TO {user}"
        ))
        .await;
    let refused = tenant.touchline().migrate().await.unwrap_err();
    assert!(
        matches!(refused, DatabaseError::RightsRefused { .. }),
        "{refused}"
    );
    tenant.leave().await;
}

//! An API of a test's own: its database, its projections, its port.

use crate::client::{Answer, Person};
use crate::schema::Contract;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::sync::Arc;
use testkit::{MockClock, SequentialIds, TestDatabase};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use touchline_api::auth::KeyRing;
use touchline_api::limits::Deadlines;
use touchline_api::{ApiParts, ApiState, router};
use touchline_commands::identity::Identity;
use touchline_commands::{Argon2Hasher, Bus, Credentials};
use touchline_domain::clock::{Clock, IdSource};
use touchline_eventstore::database::Database;
use touchline_eventstore::seal::Seals;
use touchline_eventstore::{EventStore, MasterKeys, Tasks};
use touchline_projections::{Freshness, Projections, registry};
use touchline_testkit as testkit;
use uuid::Uuid;

/// When the tests play.
pub(crate) const NOON: &str = "2022-12-18T12:00:00Z";
/// What everybody signs in with.
pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) clock: Arc<MockClock>,
    pub(crate) store: EventStore,
    pub(crate) credentials: Credentials,
    pub(crate) nats_connected: watch::Sender<bool>,
    pub(crate) contract: Arc<Contract>,
    projections: Projections,
    pub(crate) tasks: Tasks,
    pub(crate) freshness: Freshness,
    pub(crate) stop: CancellationToken,
    database: Arc<TestDatabase>,
}

/// What a test may want otherwise.
pub(crate) struct Setup {
    pub(crate) deadlines: Deadlines,
    /// Which of several on one database it is; each has ids and leases of its own.
    pub(crate) node: u32,
    /// How many passwords are hashed at a time.
    pub(crate) hashers: usize,
    /// What the API takes for the address of its database, when it is not the database itself.
    pub(crate) database_url: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            deadlines: Deadlines::default(),
            node: 1,
            hashers: 64,
            database_url: None,
        }
    }
}

pub(crate) async fn start() -> Api {
    start_with(Setup::default()).await
}

pub(crate) async fn start_with(setup: Setup) -> Api {
    let database = testkit::database().await;
    start_on(Arc::new(database), setup).await
}

pub(crate) async fn start_on(database: Arc<TestDatabase>, setup: Setup) -> Api {
    let clock = Arc::new(MockClock::at(NOON));
    let ids: Arc<dyn IdSource> = Arc::new(SequentialIds::new(setup.node));
    let at: Arc<dyn Clock> = clock.clone();
    let url = setup.database_url.unwrap_or_else(|| database.url.clone());
    let connections = Database::new(&url).unwrap();
    let masters = MasterKeys::parse(testkit::MASTER_KEY).unwrap();
    let pool = connections.pool(8);
    let store = EventStore::new(connections.clone(), pool, masters, Arc::clone(&at));
    let log_id = store.log_id().await.unwrap();
    let seals = Seals::new(store.pool().clone());
    seals.prepare_key(store.keys(), log_id).await.unwrap();
    registry::prepare(store.pool()).await.unwrap();
    let stop = CancellationToken::new();
    let holder = Uuid::from_u128(setup.node.into());
    let tasks = Tasks::default();
    let projections = Projections::start(&store, &connections, None, holder, &stop, &tasks);
    let queries = connections.pool(8);
    let credentials = Credentials::new(store.pool().clone(), store.keys().clone());
    let (nats_connected, watching) = watch::channel(true);
    let freshness = projections.freshness(queries.clone());
    let state = ApiState::new(ApiParts {
        identity: Identity {
            bus: Bus::new(store.clone(), Arc::clone(&at), Arc::clone(&ids)),
            credentials: credentials.clone(),
            hasher: Arc::new(Argon2Hasher::new(NonZeroUsize::new(setup.hashers).unwrap())),
            fingerprints: credentials.fingerprints().await.unwrap(),
        },
        database: connections,
        queries,
        freshness: freshness.clone(),
        keys: KeyRing::load(credentials.clone(), at.now()).await.unwrap(),
        log_id: store.log_id().await.unwrap(),
        clock: at,
        ids,
        nats_connected: watching,
        deadlines: setup.deadlines,
        tasks: tasks.clone(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router(state)).await });
    Api {
        url,
        client: Client::new(),
        clock,
        store,
        credentials,
        nats_connected,
        contract: Arc::new(Contract::generated()),
        projections,
        tasks,
        freshness,
        stop,
        database,
    }
}

impl Api {
    /// Another node on the same database.
    pub(crate) async fn another_node(&self) -> Self {
        self.another_node_with(Deadlines::default()).await
    }

    /// Another node on the same database, which gives requests up after these times.
    pub(crate) async fn another_node_with(&self, deadlines: Deadlines) -> Self {
        let setup = Setup {
            node: 2,
            deadlines,
            ..Setup::default()
        };
        start_on(Arc::clone(&self.database), setup).await
    }

    /// Stops the projections, as if the process that runs them had died.
    pub(crate) async fn stop_projections(&self) {
        self.stop.cancel();
        self.projections.stopped().await;
    }

    /// The role that the application runs as.
    pub(crate) fn role(&self) -> &str {
        self.database.role()
    }

    /// Takes everything after a position out of the log, as restoring an earlier state of it does.
    pub(crate) async fn lose_events_after(&self, position: i64) {
        self.database.lose_events_after(position).await;
    }

    /// Connections to the database as its owner.
    pub(crate) fn pool(&self) -> &sqlx::PgPool {
        &self.database.pool
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Sends a request and holds the answer against what always holds.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::to(&self.client, &self.contract, request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Somebody new, a fan, signed in.
    pub(crate) async fn fan(&self, handle: &str) -> Person {
        let signed_up = self.post("/v1/accounts", &sign_up_body(handle)).await;
        assert_eq!(signed_up.status, 201, "{}", signed_up.body);
        self.sign_in(handle).await
    }

    /// Somebody with this handle, signed in anew.
    pub(crate) async fn sign_in(&self, handle: &str) -> Person {
        let credentials = json!({"email": format!("{handle}@example.org"), "password": PASSWORD});
        let session = self.post("/v1/sessions", &credentials).await;
        assert_eq!(session.status, 201, "{}", session.body);
        Person {
            user_id: session.text("user_id"),
            token: session.text("access_token"),
        }
    }

    /// Sends as somebody.
    pub(crate) async fn call(&self, who: &Person, method: Method, path: &str) -> Answer {
        self.send(self.request(method, path).bearer_auth(&who.token))
            .await
    }

    /// Reads what somebody sees after a write.
    pub(crate) async fn get_after(&self, who: &Person, path: &str, written: &Answer) -> Answer {
        let request = self
            .request(Method::GET, path)
            .bearer_auth(&who.token)
            .header("Consistency-Token", written.header("consistency-token"));
        self.send(request).await
    }

    /// Sends a body as somebody.
    pub(crate) async fn call_with(
        &self,
        who: &Person,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Answer {
        self.send(
            self.request(method, path)
                .bearer_auth(&who.token)
                .json(body),
        )
        .await
    }

    /// Publishes a public post.
    pub(crate) async fn publish(&self, who: &Person, caption: &str) -> Answer {
        let answer = self
            .call_with(who, Method::POST, "/v1/posts", &json!({"caption": caption}))
            .await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer
    }

    /// How many events the log has.
    pub(crate) async fn events(&self) -> i64 {
        self.store.head().await.unwrap().get()
    }
}

/// What a fan with this handle sends.
pub(crate) fn sign_up_body(handle: &str) -> Value {
    json!({
        "email": format!("{handle}@example.org"),
        "password": PASSWORD,
        "handle": handle,
        "display_name": format!("The {handle}"),
        "sport": "football",
        "gender": "undisclosed",
        "role": "fan",
    })
}

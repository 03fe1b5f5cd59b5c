//! A log of its own for a test, and commands to append to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use touchline_domain::clock::Clock;
use touchline_domain::id::CommandId;
use touchline_eventstore::database::Database;
use touchline_eventstore::store::READ_EVENTS_MAX;
use touchline_eventstore::{
    Append, Claim, EventStore, LogEvent, MasterKeys, NewEvent, Position, StreamAppend,
};
use touchline_testkit::{MockClock, TcpProxy, TestDatabase, database, proxy};
use uuid::Uuid;

/// A store on a database that goes with it.
pub(crate) struct Log {
    pub(crate) store: EventStore,
    pub(crate) database: TestDatabase,
    proxy: Option<TcpProxy>,
}

impl Log {
    pub(crate) async fn new() -> Self {
        let database = database().await;
        let store = store_on(&database.url);
        Self {
            store,
            database,
            proxy: None,
        }
    }

    /// The appender's connection, and all others of the store, go through a proxy.
    pub(crate) async fn behind_proxy() -> Self {
        let database = database().await;
        let port = database.pool.connect_options().get_port();
        let proxy = proxy(&format!("127.0.0.1:{port}")).await;
        let store = store_on(&proxy.url(&database.url));
        Self {
            store,
            database,
            proxy: Some(proxy),
        }
    }

    /// The whole log, past any proxy.
    pub(crate) async fn events(&self) -> Vec<LogEvent> {
        store_on(&self.database.url)
            .read(Position::START, READ_EVENTS_MAX)
            .await
            .unwrap()
    }

    pub(crate) fn proxy(&self) -> &TcpProxy {
        self.proxy.as_ref().unwrap()
    }
}

/// A store on the database behind `url`, as another process would have.
pub(crate) fn store_on(url: &str) -> EventStore {
    store_with(url, touchline_testkit::MASTER_KEY)
}

/// The same with these master keys.
pub(crate) fn store_with(url: &str, masters: &str) -> EventStore {
    store_of(
        url,
        masters,
        Arc::new(MockClock::at("2022-12-18T15:00:00Z")),
    )
}

/// The same with a clock of its own.
pub(crate) fn store_of(url: &str, masters: &str, clock: Arc<dyn Clock>) -> EventStore {
    let database = Database::new(url).unwrap();
    let pool = database.pool(8);
    EventStore::new(database, pool, MasterKeys::parse(masters).unwrap(), clock)
}

/// Command number `number` on these streams. Its event ids follow from its number.
pub(crate) fn command(number: u128, streams: impl IntoIterator<Item = StreamAppend>) -> Append {
    let mut streams: Vec<_> = streams.into_iter().collect();
    let events = streams.iter_mut().flat_map(|stream| &mut stream.events);
    for (event, index) in events.zip(1_u128..) {
        event.event_id = Uuid::from_u128((number << 32) + index);
    }
    Append {
        command_id: CommandId::new(Uuid::from_u128(number)),
        fingerprint: [1; 32],
        metadata: BTreeMap::from([("actor".to_owned(), "tests".to_owned())]),
        streams,
        take: Vec::new(),
        release: Vec::new(),
    }
}

/// `events` more events on the aggregate with this number, which is expected at `version`.
pub(crate) fn stream(aggregate: u128, version: i64, events: usize) -> StreamAppend {
    let event = |index: usize| NewEvent {
        event_id: Uuid::nil(),
        event_type: "tests.happened",
        event_version: "1",
        payload: serde_json::value::to_raw_value(
            &serde_json::json!({"tests.happened": {"index": index, "text": "Žižkov \u{1F3C6}"}}),
        )
        .unwrap(),
        personal: &[],
    };
    StreamAppend {
        aggregate_type: "test",
        aggregate_id: Uuid::from_u128(aggregate),
        expected_version: version,
        events: (0..events).map(event).collect(),
    }
}

/// The claim of `owner` on a name.
pub(crate) fn claim(name: &str, owner: u128) -> Claim {
    Claim {
        scope: "test.name",
        key: name.to_owned(),
        owner: Uuid::from_u128(owner),
    }
}

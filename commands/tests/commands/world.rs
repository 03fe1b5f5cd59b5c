//! A log of its own for each test, with everything that a command needs.

use std::num::NonZeroUsize;
use std::sync::Arc;
use touchline_commands::identity::Identity;
use touchline_commands::posts::NewPost;
use touchline_commands::{
    Argon2Hasher, Bus, Credentials, Envelope, Fingerprints, Intent, Password,
};
use touchline_domain::id::{PostId, UserId};
use touchline_domain::identity::{
    Account, AccountCommand, Address, Contact, DisplayName, Email, Gender, Handle, Register,
    RoleDetails, Sport,
};
use touchline_domain::posts::{Caption, Tags, Visibility};
use touchline_eventstore::database::Database;
use touchline_eventstore::{EventStore, LogEvent, MasterKeys, Position};
use touchline_testkit::{MockClock, SequentialIds, TestDatabase, database};

/// What the clock of every world shows.
pub(crate) const NOW: &str = "2022-12-18T15:00:00Z";

/// One process on a log of its own.
pub(crate) struct World {
    pub(crate) bus: Bus,
    pub(crate) identity: Identity,
    pub(crate) database: TestDatabase,
}

impl World {
    pub(crate) async fn new() -> Self {
        let database = database().await;
        let bus = process(&database, 1);
        let identity = Identity {
            bus: bus.clone(),
            credentials: credentials_of(&bus),
            hasher: Arc::new(Argon2Hasher::new(NonZeroUsize::new(20).unwrap())),
            fingerprints: Fingerprints::new(&[7; 32]),
        };
        Self {
            bus,
            identity,
            database,
        }
    }

    /// Another process on the same log, with a memory of its own.
    pub(crate) fn another_process(&self) -> Bus {
        process(&self.database, 2)
    }

    /// A fan with an account, without a password.
    pub(crate) async fn fan(&self, handle: &str) -> UserId {
        self.account(handle, RoleDetails::Fan).await
    }

    /// A club that waits for approval.
    pub(crate) async fn waiting_club(&self, handle: &str) -> UserId {
        self.account(handle, club()).await
    }

    async fn account(&self, handle: &str, role: RoleDetails) -> UserId {
        let user_id = UserId::new(self.bus.new_id());
        let envelope = self.bus.envelope(None);
        let command = AccountCommand::Register(Register {
            user_id,
            email: Email::parse(&format!("{handle}@example.org")).unwrap(),
            handle: Handle::parse(handle).unwrap(),
            display_name: DisplayName::parse(handle).unwrap(),
            sport: Sport::parse("football").unwrap(),
            gender: Gender::Undisclosed,
            role,
            at: envelope.at,
        });
        let intent = Intent::<Account>::new(user_id.uuid(), command);
        self.bus.execute(&envelope, intent).await.unwrap();
        user_id
    }

    /// A post of `author`.
    pub(crate) async fn post(&self, author: UserId, visibility: Visibility) -> PostId {
        let envelope = self.bus.envelope(Some(author));
        let post = new_post("3–3", visibility);
        let outcome = touchline_commands::posts::publish(&self.bus, &envelope, post);
        PostId::new(outcome.await.unwrap().id)
    }

    /// Everything that has happened.
    pub(crate) async fn log(&self) -> Vec<LogEvent> {
        self.bus
            .store()
            .read(Position::START, 10_000)
            .await
            .unwrap()
    }

    /// The names of everything that has happened after `position`.
    pub(crate) async fn names_after(&self, position: Position) -> Vec<String> {
        let events = self.bus.store().read(position, 10_000).await.unwrap();
        events.into_iter().map(|event| event.event_type).collect()
    }
}

/// The credentials of a process.
pub(crate) fn credentials_of(bus: &Bus) -> Credentials {
    let store = bus.store();
    Credentials::new(store.pool().clone(), store.keys().clone())
}

fn process(database: &TestDatabase, seed: u32) -> Bus {
    let clock = Arc::new(MockClock::at(NOW));
    let log = Database::new(&database.url).unwrap();
    let pool = log.pool(5);
    let masters = MasterKeys::parse(touchline_testkit::MASTER_KEY).unwrap();
    let store = EventStore::new(log, pool, masters, clock.clone());
    Bus::new(store, clock, Arc::new(SequentialIds::new(seed)))
}

pub(crate) fn club() -> RoleDetails {
    RoleDetails::Club {
        location: Address::parse("Rosario").unwrap(),
        contact: Contact::parse("office").unwrap(),
    }
}

pub(crate) fn password() -> Password {
    Password::parse("correct horse battery").unwrap()
}

pub(crate) fn new_post(caption: &str, visibility: Visibility) -> NewPost {
    NewPost {
        caption: Caption::parse(caption).unwrap(),
        category: None,
        device: None,
        tags: Tags::default(),
        visibility,
    }
}

/// An envelope whose command the caller may send again: the same `key` gives the same command id,
/// the same `body` the same fingerprint.
pub(crate) fn keyed(bus: &Bus, actor: Option<UserId>, key: &str, body: &str) -> Envelope {
    let fingerprints = Fingerprints::new(&[7; 32]);
    Envelope {
        command_id: fingerprints.command_id(&[key.as_bytes()]),
        fingerprint: fingerprints.of(&[body.as_bytes()]),
        keyed: true,
        ..bus.envelope(actor)
    }
}

//! L6: the stream LOG against the log.

use crate::chance::PATIENCE;
use async_nats::jetstream::{self, stream::Stream};
use async_nats::{Client, ConnectOptions, ServerAddr};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use touchline_eventstore::stream::{Authenticator, Message, NAME};
use touchline_eventstore::{Anchor, EventStore, LogEvent};
use touchline_testkit::eventually_some;

/// How many messages are asked for at once.
const AT_ONCE: usize = 64;

/// A connection to the server of an instance.
pub(crate) async fn connect(url: &str) -> Client {
    let address: ServerAddr = url.parse().unwrap();
    let mut options = ConnectOptions::new().retry_on_initial_connect();
    if let (Some(user), Some(password)) = (address.username(), address.password()) {
        options = options.user_and_password(user.to_owned(), password.to_owned());
    }
    options.connect(address).await.unwrap()
}

/// Waits until the stream has as many messages as the log has events, and compares each.
pub(crate) async fn check(url: &str, store: &EventStore, events: &[LogEvent]) {
    let context = jetstream::new(connect(url).await);
    let head = u64::try_from(events.len()).unwrap();
    let stream = eventually_some(
        PATIENCE,
        "L6: the stream comes to the end of the log",
        || async {
            let stream = context.get_stream(NAME).await.ok()?;
            let state = &stream.cached_info().state;
            (state.last_sequence >= head && state.messages >= head).then_some(stream)
        },
    )
    .await;
    let state = &stream.cached_info().state;
    assert_eq!((state.first_sequence, state.last_sequence), (1, head), "L6");
    assert_eq!(state.deleted_count.unwrap_or(0), 0, "L6");
    let authenticator = store.authenticator().await.unwrap();
    let before = std::iter::once(Anchor::START).chain(events.iter().map(LogEvent::anchor));
    let pairs: Vec<_> = before.zip(events.iter().cloned()).collect();
    stream::iter(pairs)
        .map(|(before, event)| compare(&stream, &authenticator, before, event))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
        .unwrap();
}

async fn compare(
    stream: &Stream,
    authenticator: &Authenticator,
    before: Anchor,
    event: LogEvent,
) -> Result<(), String> {
    let message = stream.get_raw_message(event.position.sequence()).await;
    let message = message.map_err(|error| format!("L6: {}: {error}", event.position))?;
    let expected = Message::encode(authenticator, before, &event).unwrap();
    let is_equal = message.subject.as_str() == expected.subject
        && message.headers == expected.headers
        && message.payload == expected.body;
    is_equal
        .then_some(())
        .ok_or_else(|| format!("L6: the message at {} is {message:?}", event.position))
}

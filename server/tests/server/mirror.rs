//! L6: the stream LOG against the log.

use crate::chance::PATIENCE;
use async_nats::jetstream::{self, stream::Stream};
use async_nats::{Client, ConnectOptions, ServerAddr};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::PgConnection;
use touchline_eventstore::LogEvent;
use touchline_eventstore::stream::{Message, NAME};
use touchline_testkit::eventually_some;
use uuid::Uuid;

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
pub(crate) async fn check(url: &str, connection: &mut PgConnection, events: &[LogEvent]) {
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
    let log_id: Uuid = sqlx::query_scalar("SELECT log_id FROM log.origin")
        .fetch_one(connection)
        .await
        .unwrap();
    stream::iter(events.to_vec())
        .map(|event| compare(&stream, log_id, event))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
        .unwrap();
}

async fn compare(stream: &Stream, log_id: Uuid, event: LogEvent) -> Result<(), String> {
    let message = stream.get_raw_message(event.position.sequence()).await;
    let message = message.map_err(|error| format!("L6: {}: {error}", event.position))?;
    let expected = Message::encode(log_id, &event).unwrap();
    let is_equal = message.subject.as_str() == expected.subject
        && message.headers == expected.headers
        && message.payload == expected.body;
    is_equal
        .then_some(())
        .ok_or_else(|| format!("L6: the message at {} is {message:?}", event.position))
}

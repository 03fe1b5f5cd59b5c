//! Somebody who watches the log grow while everything breaks, and remembers what they saw.

use sqlx::{Connection as _, PgConnection};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often the witness looks.
const LOOK: Duration = Duration::from_millis(20);

/// Follows the log of one database, connecting again as often as it must.
pub(crate) struct Witness {
    seen: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Witness {
    /// Starts to watch the log behind `url`.
    pub(crate) fn watch(url: &str) -> Self {
        let (seen, stop) = (Arc::default(), CancellationToken::new());
        let watching = watch(url.to_owned(), Arc::clone(&seen));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            stopped.run_until_cancelled(watching).await;
        });
        Self { seen, stop, task }
    }

    /// Ends the watch. What was seen: a digest of each event's row, in the order of positions.
    pub(crate) async fn testify(self) -> Vec<String> {
        self.stop.cancel();
        self.task.await.unwrap();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}

async fn watch(url: String, seen: Arc<Mutex<Vec<String>>>) {
    loop {
        if let Ok(mut connection) = PgConnection::connect(&url).await {
            while look(&mut connection, &seen).await.is_ok() {
                sleep(LOOK).await;
            }
        }
        sleep(LOOK).await;
    }
}

/// Reads on after what was seen. Whoever sees a position sees all below it (L1): a gap is found at
/// once, and not after it has closed.
async fn look(connection: &mut PgConnection, seen: &Mutex<Vec<String>>) -> Result<(), sqlx::Error> {
    let known = seen.lock().unwrap_or_else(PoisonError::into_inner).len();
    let rows = rows_after(connection, i64::try_from(known).unwrap()).await?;
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    for (position, row) in rows {
        let expected = i64::try_from(seen.len()).unwrap() + 1;
        assert_eq!(position, expected, "L1: the log was seen with a gap");
        seen.push(row);
    }
    Ok(())
}

/// Digests of the rows after `position`, as PostgreSQL makes them from the rows' texts.
pub(crate) async fn rows_after(
    connection: &mut PgConnection,
    position: i64,
) -> Result<Vec<(i64, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, md5(e::text) FROM log.events AS e WHERE position > $1 ORDER BY position",
    )
    .bind(position)
    .fetch_all(connection)
    .await
}

//! The gate before the serving tables, closed for the moment in which they change places.
//!
//! A statement locks its tables one after the other, in its own order. Who locks all of them in one
//! session does the same: it waits for one table with others in its hands, until a reader has the one
//! and waits for another, and both wait for ever. While somebody reads all the time, there always is
//! such a reader. So each table is locked by a session of its own, all of them at the same moment.
//! Whoever begins to read then waits before the first table, with nothing in its hands; and whoever
//! has all tables already is waited for. That leaves readers between two of their tables at this very
//! moment: they make an attempt fail, and the next one as little likely as the first.

use super::swap::WRITERS_WAIT_MAX;
use futures::future::{join_all, try_join_all};
use sqlx::{Executor as _, PgConnection};
use std::time::Duration;
use touchline_eventstore::database::Database;

use crate::checkpoint;

/// One session for each table.
pub(super) struct Gate {
    posts: Vec<Post>,
}

/// A session, and the table that it stands before.
struct Post {
    session: PgConnection,
    table: String,
}

/// What came of closing the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// Nobody reads the tables, and nobody begins to.
    Closed,
    /// Readers did not leave in time. Nobody is kept waiting any more.
    InUse,
}

impl Gate {
    /// An open gate. Readers and the runner pass; a vacuum gives way, which nobody else would wait for
    /// and which would hold the tables for long.
    pub(super) async fn before(
        database: &Database,
        tables: Vec<String>,
    ) -> Result<Self, sqlx::Error> {
        let posts = tables.into_iter().map(|table| Post::take(database, table));
        let posts = try_join_all(posts).await?;
        Ok(Self { posts })
    }

    /// Waits for whoever reads, and keeps everybody else waiting meanwhile: no longer than `wait`.
    pub(super) async fn close(&mut self, wait: Duration) -> Result<Closing, sqlx::Error> {
        let closing = join_all(self.posts.iter_mut().map(|post| post.close(wait))).await;
        let mut closed = Closing::Closed;
        for one in closing {
            match one {
                Err(error) if checkpoint::is_locked(&error) => closed = Closing::InUse,
                one => one?,
            }
        }
        if closed == Closing::InUse {
            self.open().await?;
        }
        Ok(closed)
    }

    /// Makes sure that it is still closed.
    pub(super) async fn hold(&mut self) -> Result<(), sqlx::Error> {
        let held = self.posts.iter_mut().map(|post| post.session.execute(""));
        try_join_all(held).await.map(drop)
    }

    /// Lets everybody through.
    pub(super) async fn open(&mut self) -> Result<(), sqlx::Error> {
        let opened = self
            .posts
            .iter_mut()
            .map(|post| post.session.execute("ROLLBACK"));
        try_join_all(opened).await.map(drop)
    }
}

impl Post {
    async fn take(database: &Database, table: String) -> Result<Self, sqlx::Error> {
        let mut session = database.connect(&[]).await?;
        let take = format!(
            "BEGIN;
             SET LOCAL lock_timeout = '{WRITERS_WAIT_MAX}';
             SET LOCAL idle_in_transaction_session_timeout = '15s';
             LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE"
        );
        session.execute(take.as_str()).await?;
        Ok(Self { session, table })
    }

    async fn close(&mut self, wait: Duration) -> Result<(), sqlx::Error> {
        let close = format!(
            "SET LOCAL lock_timeout = {}; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
            wait.as_millis(),
            self.table,
        );
        self.session.execute(close.as_str()).await.map(drop)
    }
}

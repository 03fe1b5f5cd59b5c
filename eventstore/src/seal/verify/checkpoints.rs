//! The stored checkpoints, in the order of their sizes.

use crate::event::Digest;
use crate::position::Position;
use crate::seal::record::{decode, digest};
use sqlx::PgPool;
use std::collections::VecDeque;

/// How many are read at once.
const PAGE_CHECKPOINTS: i64 = 1_000;

/// A checkpoint as it is stored.
pub(super) struct Stored {
    pub(super) size: Position,
    pub(super) root: Digest,
    pub(super) note: String,
}

/// The stored checkpoints, by size, a page at a time.
pub(super) struct Checkpoints {
    pool: PgPool,
    page: VecDeque<Stored>,
    after: Position,
    more: bool,
}

impl Checkpoints {
    /// All that are stored in the database of `pool`.
    pub(super) async fn open(pool: PgPool) -> Result<Self, sqlx::Error> {
        let mut this = Self {
            pool,
            page: VecDeque::new(),
            after: Position::START,
            more: true,
        };
        this.fill().await?;
        Ok(this)
    }

    /// The next one, if it has this size or less.
    pub(super) async fn at(&mut self, size: Position) -> Result<Option<Stored>, sqlx::Error> {
        if self.page.front().is_some_and(|next| next.size <= size) {
            self.next().await
        } else {
            Ok(None)
        }
    }

    /// The next one, whatever its size.
    pub(super) async fn next(&mut self) -> Result<Option<Stored>, sqlx::Error> {
        let next = self.page.pop_front();
        if self.page.is_empty() {
            self.fill().await?;
        }
        Ok(next)
    }

    /// There are no more.
    pub(super) fn skip_all(&mut self) {
        self.page.clear();
        self.more = false;
    }

    async fn fill(&mut self) -> Result<(), sqlx::Error> {
        if !self.more {
            return Ok(());
        }
        let rows = sqlx::query!(
            r#"
            SELECT checkpoints.tree_size, checkpoints.root, checkpoints.note
            FROM seals.checkpoints
            WHERE checkpoints.tree_size > $1
            ORDER BY checkpoints.tree_size
            LIMIT $2
            "#,
            self.after.get(),
            PAGE_CHECKPOINTS,
        )
        .fetch_all(&self.pool)
        .await?;
        self.more = !rows.is_empty();
        for row in rows {
            self.after = Position::new(row.tree_size).map_err(decode)?;
            self.page.push_back(Stored {
                size: self.after,
                root: digest(&row.root)?,
                note: row.note,
            });
        }
        Ok(())
    }
}

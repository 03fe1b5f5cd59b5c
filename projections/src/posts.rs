//! The read model `posts`: posts with their likes and comments, and the home feed.
//!
//! A feed is written ahead for the followers of ordinary authors (`timeline`), because a reader who
//! follows hundreds should not pay for each at every read. It keeps the newest [`FEED_ENTRIES_MAX`].
//! The posts of an author with more than [`FAN_OUT_FOLLOWERS_MAX`] followers are merged in when a feed
//! is read (`feed`), because one post should not cost a million rows, and so is what an author
//! published before the reader followed, because following should not cost a thousand. A reader's own
//! posts are in their feed too, as on other networks: who has just posted looks for it there.

mod comments;
mod feed;
mod fold;
mod project;
mod query;
mod sample;
mod sweep;
mod timeline;

pub use comments::{COMMENT_DEPTH_MAX, Comment, CommentCursor, comments};
pub use feed::{FEED_AUTHORS_ASKED_MAX, FEED_POSTS_SEEN_MAX, home_feed, home_feed_within};
pub use fold::{FAN_OUT_FOLLOWERS_MAX, FEED_ENTRIES_MAX};
pub use project::PostsProjection;
pub use query::{Author, LikeCursor, Liker, Post, PostCursor, by_author, by_id, likers};

//! The read model `posts`: posts with their likes and comments, and the home feed.
//!
//! A feed is written ahead for the followers of ordinary authors (`timeline`), because a reader who
//! follows hundreds should not pay for each at every read. The posts of an author with more than
//! [`FAN_OUT_FOLLOWERS_MAX`] followers are merged in at read time, because one post should not cost
//! a million rows. A reader's own posts are in their feed too, as on other networks: who has just
//! posted looks for it there. They are merged at read time.

mod comments;
mod erasure;
mod fold;
mod project;
mod query;
mod sample;
mod timeline;

pub use comments::{COMMENT_DEPTH_MAX, Comment, CommentCursor, comments};
pub use fold::FAN_OUT_FOLLOWERS_MAX;
pub use project::PostsProjection;
pub use query::{Author, LikeCursor, Liker, Post, PostCursor, by_author, by_id, home_feed, likers};

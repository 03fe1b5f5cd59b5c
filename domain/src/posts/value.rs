//! The values of a post and of what stands below it.

use crate::value::{
    LINE, LINES, Limits, ValueError, choice, is_of_word, line, lines, text_value, trim,
};
use serde::{Deserialize, Serialize};

text_value! {
    /// The text of a post.
    Caption, 1..=2200, lines, LINES
}

text_value! {
    /// What a post is about, in the author's word.
    Category, 1..=50, line, LINE
}

text_value! {
    /// What a post was written on.
    Device, 1..=80, line, LINE
}

text_value! {
    /// A hashtag without its `#`, in lower case: letters, marks and digits of any script, and `_`.
    Tag, 1..=50, tag, r"^\s*#?[\p{L}\p{M}\p{N}_]*[\p{L}\p{N}][\p{L}\p{M}\p{N}_]*\s*$"
}

text_value! {
    /// The text of a comment.
    CommentText, 1..=500, lines, LINES
}

choice! {
    /// Who may see a post, besides its author.
    Visibility, "public, followers or only_me" {
        /// Everybody.
        Public = "public",
        /// Those who follow the author.
        Followers = "followers",
        /// Nobody else.
        OnlyMe = "only_me",
    }
}

/// The tags of a post, each once, in the author's order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Tag>", into = "Vec<Tag>")]
pub struct Tags(Vec<Tag>);

impl Tags {
    /// The greatest number of tags.
    pub const MAX_ITEMS: usize = 30;

    /// These tags; one that comes again is left out.
    ///
    /// # Errors
    /// [`ValueError::TooMany`] when more than [`Tags::MAX_ITEMS`] different ones are given.
    pub fn new(tags: impl IntoIterator<Item = Tag>) -> Result<Self, ValueError> {
        let mut unique = Vec::new();
        for tag in tags {
            if unique.contains(&tag) {
                continue;
            }
            if unique.len() == Self::MAX_ITEMS {
                return Err(ValueError::TooMany {
                    max: Self::MAX_ITEMS,
                });
            }
            unique.push(tag);
        }
        Ok(Self(unique))
    }

    /// The tags.
    #[must_use]
    pub fn as_slice(&self) -> &[Tag] {
        &self.0
    }

    /// The tags, one after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Tag> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Tags {
    type Item = &'a Tag;
    type IntoIter = std::slice::Iter<'a, Tag>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl TryFrom<Vec<Tag>> for Tags {
    type Error = ValueError;

    fn try_from(tags: Vec<Tag>) -> Result<Self, Self::Error> {
        Self::new(tags)
    }
}

impl From<Tags> for Vec<Tag> {
    fn from(tags: Tags) -> Self {
        tags.0
    }
}

/// One word, as the hashtags of UAX #31, with a letter or a digit in it.
fn tag(text: &str, limits: Limits) -> Result<String, ValueError> {
    let text = trim(text);
    let text = text.strip_prefix('#').unwrap_or(text).to_lowercase();
    let allowed = text.chars().all(is_of_word);
    if !allowed || (!text.is_empty() && !text.chars().any(char::is_alphanumeric)) {
        return Err(ValueError::Malformed {
            expected: "one word of letters, digits and _",
        });
    }
    limits.check(text)
}

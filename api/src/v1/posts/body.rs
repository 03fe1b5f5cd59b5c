//! What posts and comments send.

use crate::json::{Change, FieldErrors, RequestBody, field_at};
use crate::openapi::values;
use serde::Deserialize;
use touchline_commands::posts::{NewPost, PostChanges};
use touchline_domain::id::CommentId;
use touchline_domain::posts::{Category, CategoryChange, CommentText, Tag, Tags, Visibility};
use utoipa::ToSchema;
use uuid::Uuid;

/// Somebody publishes a post.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPost)]
pub(super) struct PublishBody {
    /// Its text.
    #[schema(value_type = values::Caption)]
    caption: String,
    /// What it is about, in the author's word.
    #[schema(value_type = Option<values::Category>)]
    category: Option<String>,
    /// What it is written on.
    #[schema(value_type = Option<values::Device>)]
    device: Option<String>,
    /// Its tags, with or without `#`; one that comes again is left out.
    #[serde(default)]
    #[schema(value_type = Vec<values::Tag>, max_items = 30, example = json!(["worldcup", "final"]))]
    tags: Vec<String>,
    /// Who may see it; `public` when not given.
    #[schema(value_type = Option<values::Visibility>)]
    visibility: Option<String>,
}

impl RequestBody for PublishBody {
    type Value = NewPost;

    fn parse(self, errors: &mut FieldErrors) -> Option<NewPost> {
        let caption = errors.text("caption", &self.caption);
        let category = errors.optional("category", self.category.as_deref());
        let device = errors.optional("device", self.device.as_deref());
        let tags = tags(errors, &self.tags);
        let visibility = errors.optional("visibility", self.visibility.as_deref());
        Some(NewPost {
            caption: caption?,
            category: category?,
            device: device?,
            tags: tags?,
            visibility: visibility?.unwrap_or(Visibility::Public),
        })
    }
}

/// The tags, or none and a report for each that is wrong.
fn tags(errors: &mut FieldErrors, texts: &[String]) -> Option<Tags> {
    let parsed: Vec<Option<Tag>> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| errors.value_at(field_at("tags", index), text.parse()))
        .collect();
    let parsed: Option<Vec<Tag>> = parsed.into_iter().collect();
    parsed.and_then(|parsed| errors.value("tags", Tags::new(parsed)))
}

/// What a post is to be. Absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PostEdit)]
pub(super) struct EditPostBody {
    /// Its text.
    #[serde(default)]
    #[schema(value_type = values::Caption, required = false)]
    caption: Change<String>,
    /// What it is about; null clears it.
    #[serde(default)]
    #[schema(value_type = Option<values::Category>, required = false)]
    category: Change<String>,
    /// Its tags, all of them; null clears them.
    #[serde(default)]
    #[schema(value_type = Option<Vec<values::Tag>>, required = false, max_items = 30)]
    tags: Change<Vec<String>>,
    /// Who may see it: `public`, `followers` or `only_me`.
    #[serde(default)]
    #[schema(value_type = values::Visibility, required = false)]
    visibility: Change<String>,
}

impl RequestBody for EditPostBody {
    type Value = PostChanges;

    fn parse(self, errors: &mut FieldErrors) -> Option<PostChanges> {
        let caption = errors.settable("caption", &self.caption);
        let category = match &self.category {
            Change::Keep => Some(None),
            Change::Clear => Some(Some(CategoryChange::Cleared)),
            Change::Set(text) => errors
                .text::<Category>("category", text)
                .map(|category| Some(CategoryChange::Set(category))),
        };
        let tags = match &self.tags {
            Change::Keep => Some(None),
            Change::Clear => Some(Some(Tags::default())),
            Change::Set(texts) => tags(errors, texts).map(Some),
        };
        let visibility = errors.settable("visibility", &self.visibility);
        Some(PostChanges {
            caption: caption?,
            category: category?,
            tags: tags?,
            visibility: visibility?,
        })
    }
}

/// Somebody comments on a post.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewComment)]
pub(super) struct CommentBody {
    /// Its text.
    #[schema(value_type = values::CommentText)]
    text: String,
    /// The comment that it answers; absent or null when it answers the post.
    #[schema(value_type = Option<Uuid>)]
    parent_id: Option<String>,
}

impl RequestBody for CommentBody {
    type Value = (CommentText, Option<CommentId>);

    fn parse(self, errors: &mut FieldErrors) -> Option<Self::Value> {
        let text = errors.text("text", &self.text);
        let parent_id = match self.parent_id.map(|id| Uuid::try_parse(&id)) {
            None => Some(None),
            Some(Ok(id)) => Some(Some(CommentId::new(id))),
            Some(Err(_)) => {
                errors.report("parent_id", "malformed", "must be a UUID");
                None
            }
        };
        Some((text?, parent_id?))
    }
}

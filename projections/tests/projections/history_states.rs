//! Aggregates as auditors see them: their state at any point, what each event changed, and nothing of
//! what is personal for who may not see it.

use crate::history::{History, minute, post, user};
use crate::history_index::reader;
use crate::site::Site;
use serde_json::json;
use std::time::Duration;
use touchline_domain::posts::Visibility;
use touchline_eventstore::Position;
use touchline_projections::history::{AsOf, ChangedBy, HistoryReader, ReadHistoryError};
use uuid::Uuid;

/// A log in which person 1 publishes post 1 and edits it, with a minute between all events.
async fn edited() -> (Site, HistoryReader) {
    let site = Site::new().await;
    let mut history = History::default();
    history.register(1);
    history.approve(1);
    history.publish(1, 1, Visibility::Public);
    history.edit(1, 1, "Half time", None);
    history.edit(1, 1, "Full time", Some(Visibility::Followers));
    history.delete(1, 1);
    for append in history.appends(0) {
        site.store.append(append).await.unwrap();
        site.clock.advance(Duration::from_mins(1));
    }
    let reader = reader(&site.store);
    (site, reader)
}

#[tokio::test]
async fn a_state_is_that_after_an_event_or_before_a_time() {
    let (_site, reader) = edited().await;
    let kind = touchline_domain::kind("post").unwrap();
    let post_id = post(1).uuid();
    let state = async |as_of| reader.state(kind, post_id, as_of, true).await.unwrap();
    let at = |number| AsOf::Position(Position::new(number).unwrap());

    assert!(state(at(2)).await.is_none(), "it was not published yet");
    let published = state(at(3)).await.unwrap();
    assert_eq!((published.version, published.position.get()), (1, 3));
    assert_eq!(published.state["published"]["caption"], "Post 1");
    let edited = state(at(4)).await.unwrap();
    assert_eq!(edited.state["published"]["caption"], "Half time");
    // The fifth event was recorded at minute 4.
    let before = state(AsOf::Time(minute(4) - chrono::TimeDelta::microseconds(1))).await;
    assert_eq!(before.unwrap().state, edited.state);
    let then = state(AsOf::Time(minute(4))).await.unwrap();
    assert_eq!(then.state["published"]["caption"], "Full time");
    let now = state(AsOf::Now).await.unwrap();
    assert_eq!(
        now.state,
        json!({"deleted": {"author_id": user(1).to_string()}})
    );
    let beyond = reader.state(kind, post_id, at(7), true).await;
    assert!(matches!(
        beyond.unwrap_err(),
        ReadHistoryError::BeyondHead { .. }
    ));
    let nobody = reader.state(kind, Uuid::nil(), AsOf::Now, true).await;
    assert!(nobody.unwrap().is_none());
}

#[tokio::test]
async fn each_event_says_what_it_changed() {
    let (_site, reader) = edited().await;
    let kind = touchline_domain::kind("post").unwrap();
    let range = |after, until| {
        let position = |number| Position::new(number).unwrap();
        (position(after), position(until))
    };
    let changes = async |range, limit| {
        let changes = reader.changes(kind, post(1).uuid(), range, limit, true);
        changes.await.unwrap()
    };
    let all = changes(range(0, 6), 100).await;
    let versions: Vec<i64> = all.iter().map(|it| it.event.sequence).collect();
    assert_eq!(versions, [1, 2, 3, 4]);
    assert!(all[0].changes.iter().all(|it| it.old.is_none()));
    let second: Vec<_> = all[2].changes.iter().map(|it| &*it.path).collect();
    assert!(second.contains(&"/published/caption") && second.contains(&"/published/visibility"));
    let caption = all[2]
        .changes
        .iter()
        .find(|it| it.path.ends_with("caption"));
    let caption = caption.unwrap();
    assert_eq!(caption.old, Some(json!("Half time")));
    assert_eq!(caption.new, Some(json!("Full time")));

    // A page begins with the state that the pages before it lead to.
    let page = changes(range(4, 6), 1).await;
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].changes, all[2].changes);
    let count = |page: &[ChangedBy]| page.len();
    assert_eq!(count(&changes(range(0, 4), 100).await), 2);
}

#[tokio::test]
async fn what_is_personal_is_shown_only_to_who_may_see_it() {
    let (site, reader) = edited().await;
    let stored = site.store.read(Position::START, 100).await.unwrap();
    let shown = async |personal| {
        let shown = reader.show(stored.clone(), personal).await.unwrap();
        let texts = shown.iter().map(|event| event.payload.get());
        texts.collect::<Vec<_>>().join("\n")
    };
    let (whole, withheld) = (shown(true).await, shown(false).await);
    let kind = touchline_domain::kind("post").unwrap();
    let at = AsOf::Position(Position::new(5).unwrap());
    let state = reader.state(kind, post(1).uuid(), at, false).await;
    let state = state.unwrap().unwrap().state.to_string();
    let range = (Position::START, Position::new(6).unwrap());
    let changes = reader.changes(kind, post(1).uuid(), range, 9, false).await;
    let changes = serde_json::to_string(&changes.unwrap()).unwrap();
    for personal in ["Full time", "Half time", "user1@example.org"] {
        assert!(whole.contains(personal), "{personal}");
        assert!(!withheld.contains(personal), "{withheld}");
    }
    for text in [&withheld, &state, &changes] {
        assert!(text.contains(r#"{"sealed":true}"#), "{text}");
        assert!(
            !text.contains("time\"") && !text.contains("Post 1"),
            "{text}"
        );
        assert!(text.contains("followers"), "{text}");
    }
}

//! Waiting until a read model has seen a position.

use crate::history::History;
use crate::site::{PATIENCE, Site};
use std::time::Duration;
use touchline_eventstore::Position;
use touchline_projections::freshness::{WAITERS_MAX, WAITERS_PER_POSITION_MAX};
use touchline_projections::users::UsersProjection;
use touchline_projections::{Behind, Freshness};

const NAMES: &[&str] = &["users", "posts"];

#[tokio::test]
async fn a_reader_waits_for_the_runner_of_its_process() {
    let site = Site::new().await;
    let running = site.run(UsersProjection, 1);
    let freshness = Freshness::new(
        site.store.pool().clone(),
        NAMES,
        std::slice::from_ref(&running.status),
    );
    let mut history = History::default();
    for number in 0..200 {
        let known = history.steps.len();
        history.register(number);
        let written = site.append(&history, known).await;
        let seen = freshness
            .wait_for("users", written, PATIENCE)
            .await
            .unwrap();
        assert!(seen >= written);
        assert!(freshness.position("users") >= written);
        let people: i64 = sqlx::query_scalar("SELECT count(*) FROM users.users")
            .fetch_one(site.pool())
            .await
            .unwrap();
        assert_eq!(people, i64::try_from(number).unwrap() + 1);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_reader_sees_the_progress_of_another_process() {
    let site = Site::new().await;
    let freshness = Freshness::new(site.store.pool().clone(), NAMES, &[]);
    let mut history = History::default();
    history.register(1);
    let written = site.append(&history, 0).await;
    let waiting = tokio::spawn({
        let freshness = freshness.clone();
        async move { freshness.wait_for("users", written, PATIENCE).await }
    });
    let running = site.run(UsersProjection, 1);
    assert_eq!(waiting.await.unwrap(), Ok(written));
    assert_eq!(freshness.position("users"), written);
    running.stop().await;
}

#[tokio::test]
async fn a_reader_is_told_when_a_read_model_stays_behind() {
    let site = Site::new().await;
    let freshness = Freshness::new(site.store.pool().clone(), NAMES, &[]);
    let far = Position::new(5).unwrap();
    let soon = Duration::from_millis(20);
    let position = Position::START;
    assert_eq!(
        freshness.wait_for("users", far, soon).await,
        Err(Behind::TimedOut { position })
    );
    assert_eq!(
        freshness.wait_for("users", Position::START, soon).await,
        Ok(Position::START)
    );
    assert_eq!(
        freshness.wait_for("chess", far, soon).await,
        Err(Behind::Unknown)
    );
}

/// More waiters than any pool has connections.
#[tokio::test]
async fn waiting_holds_no_connection() {
    let site = Site::new().await;
    let freshness = Freshness::new(site.store.pool().clone(), NAMES, &[]);
    let mut history = History::default();
    for number in 1..=50 {
        history.register(number);
    }
    let written = site.append(&history, 0).await;
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..2_000 {
        let freshness = freshness.clone();
        let far = Position::new(1 + number % 50).unwrap();
        waiting.spawn(async move { freshness.wait_for("users", far, PATIENCE).await });
    }
    let running = site.run(UsersProjection, 1);
    while let Some(waited) = waiting.join_next().await {
        assert!(waited.unwrap().unwrap() <= written);
    }
    running.stop().await;
}

/// Whoever has a token of one write takes places of that position, and of no other.
#[tokio::test]
async fn those_who_wait_for_one_position_leave_room_for_others() {
    let site = Site::new().await;
    let freshness = Freshness::new(site.store.pool().clone(), NAMES, &[]);
    let at = |number: usize| Position::new(i64::try_from(number).unwrap()).unwrap();
    let crowd = |projection: &'static str, position: usize, waiters: usize| {
        (0..waiters).map(move |_| (projection, position))
    };
    let mut waiting = tokio::task::JoinSet::new();
    let mut add = async |waiters: &mut dyn Iterator<Item = (&'static str, usize)>| {
        for (projection, position) in waiters {
            let freshness = freshness.clone();
            waiting
                .spawn(async move { freshness.wait_for(projection, at(position), PATIENCE).await });
            // It takes its place when it is polled first.
            tokio::task::yield_now().await;
        }
    };
    let soon = Duration::from_millis(20);
    let timed_out = Err(Behind::TimedOut {
        position: Position::START,
    });

    add(&mut crowd("users", 1, WAITERS_PER_POSITION_MAX - 1)).await;
    let wait =
        async |projection, position| freshness.wait_for(projection, at(position), soon).await;
    assert_eq!(wait("users", 1).await, timed_out, "the last place");
    add(&mut crowd("users", 1, 1)).await;
    assert_eq!(wait("users", 1).await, Err(Behind::Crowded));
    assert_eq!(wait("users", 2).await, timed_out, "another position");

    let positions = WAITERS_MAX / WAITERS_PER_POSITION_MAX;
    add(&mut (2..=positions).flat_map(|it| crowd("users", it, WAITERS_PER_POSITION_MAX))).await;
    assert_eq!(wait("users", positions + 1).await, Err(Behind::Crowded));
    assert_eq!(wait("posts", 1).await, timed_out, "another read model");
    waiting.shutdown().await;
    assert_eq!(wait("users", 1).await, timed_out, "places are given back");
}

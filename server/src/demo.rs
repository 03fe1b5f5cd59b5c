//! The football World Cup 2022, loaded through the same command bus as any client's commands.
//!
//! 32 national teams as clubs that follow the others of their group and everybody whom they met;
//! fans who follow teams; every match as a post by both teams at its real date with its real score.
//! Every command has an id derived from what it does, so that a second run changes nothing (L5).

mod world_cup;

use crate::cli::InstanceOptions;
use crate::instance::ServerUrls;
use crate::roles::Parts;
use crate::system::System;
use crate::up::say;
use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;
use touchline_commands::identity::{self, Identity, SignUp};
use touchline_commands::posts::{self, NewPost};
use touchline_commands::{Envelope, Password, users};
use touchline_domain::clock::{IdSource as _, Timestamp};
use touchline_domain::id::{CommandId, UserId};
use touchline_domain::identity::{
    Address, Contact, DisplayName, Email, Gender, Handle, RoleDetails, Sport,
};
use touchline_domain::posts::{Caption, Category, Tag, Tags, Visibility};
use touchline_eventstore::Position;
use uuid::Uuid;
use world_cup::{FANS, Match, matches, teams};

/// The password of every account of the demo. It protects nothing: the data is public.
const PASSWORD: &str = "world-cup-2022";
/// The namespace of the demo's command ids.
const COMMANDS: Uuid = Uuid::from_u128(0x0d3e_7b5c_51a0_5c4e_8f21_64a7_2022_1218);
/// How many commands are under way at once: none of them waits for a connection.
const AT_ONCE: usize = 12;
/// How many sign-ups are under way at once: the queue of the password hasher is short.
const SIGN_UPS_AT_ONCE: usize = 2;

/// Loads everything that is not there yet, and says what there is now.
pub(crate) async fn demo(options: InstanceOptions) -> anyhow::Result<()> {
    let parts = Parts::prepare(&ServerUrls::of(&options)?, false).await?;
    let stop = CancellationToken::new();
    let nudger = tokio::spawn(parts.nudger().run(stop.clone()));
    let before = parts.store.head().await.context("the log cannot be read")?;
    let outcome = Demo {
        identity: parts.identity.clone(),
    }
    .load()
    .await;
    let after = parts.store.head().await.context("the log cannot be read")?;
    parts.close().await;
    stop.cancel();
    nudger.await?;
    summarise(&outcome?, before, after)
}

fn summarise(loaded: &Loaded, before: Position, after: Position) -> anyhow::Result<()> {
    say(&format!(
        "World Cup 2022: {} teams, {} fans, {} follows, {} posts; {} events appended, the log ends at {after}",
        loaded.teams,
        loaded.fans,
        loaded.follows,
        loaded.posts,
        after.since(before),
    ))?;
    say(&format!(
        "Sign in as any of them, for instance ana@fans.example, with the password {PASSWORD}"
    ))
}

/// How much of everything there is.
struct Loaded {
    teams: usize,
    fans: usize,
    follows: usize,
    posts: usize,
}

struct Demo {
    identity: Identity,
}

impl Demo {
    async fn load(&self) -> anyhow::Result<Loaded> {
        let matches = matches()?;
        let teams = teams(&matches);
        let accounts = self.accounts(&teams).await?;
        let follows = self.follows(&matches, &accounts).await?;
        let posts = self.posts(&matches, &accounts).await?;
        Ok(Loaded {
            teams: teams.len(),
            fans: FANS.len(),
            follows,
            posts,
        })
    }

    /// Signs everybody up and approves the clubs; handle to account.
    async fn accounts(&self, teams: &[&str]) -> anyhow::Result<BTreeMap<String, UserId>> {
        let clubs = teams
            .iter()
            .map(|team| (handle_of(team), (*team).to_owned(), true));
        let fans = FANS
            .iter()
            .map(|fan| (fan.handle.to_owned(), fan.name.to_owned(), false));
        stream::iter(clubs.chain(fans))
            .map(|(handle, name, is_club)| async move {
                let id = self
                    .sign_up(&handle, &name, is_club)
                    .await
                    .with_context(|| format!("{name} cannot be signed up"))?;
                anyhow::Ok((handle, id))
            })
            .buffered(SIGN_UPS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn sign_up(&self, handle: &str, name: &str, is_club: bool) -> anyhow::Result<UserId> {
        let at = "2022-11-01T12:00:00Z".parse()?;
        let (domain, role) = if is_club {
            let (location, contact) = (
                Address::parse(name)?,
                Contact::parse(&format!("office@{handle}.example"))?,
            );
            ("teams", RoleDetails::Club { location, contact })
        } else {
            ("fans", RoleDetails::Fan)
        };
        let sign_up = SignUp {
            email: Email::parse(&format!("{handle}@{domain}.example"))?,
            password: Password::parse(PASSWORD)?,
            handle: Handle::parse(handle)?,
            display_name: DisplayName::parse(name)?,
            sport: Sport::parse("football")?,
            gender: Gender::Undisclosed,
            role,
        };
        let envelope = command(&format!("sign up {handle}"), None, at);
        let registered = identity::sign_up(&self.identity, &envelope, sign_up).await?;
        let id = UserId::new(registered.id);
        if is_club {
            let envelope = command(&format!("approve {handle}"), None, at);
            identity::approve(&self.identity.bus, &envelope, id).await?;
        }
        Ok(id)
    }

    /// Teams follow those whom they met, fans the teams of their heart; how many pairs there are.
    async fn follows(
        &self,
        matches: &[Match],
        accounts: &BTreeMap<String, UserId>,
    ) -> anyhow::Result<usize> {
        let met = matches.iter().flat_map(|played| {
            let (home, away) = (handle_of(&played.home), handle_of(&played.away));
            [(home.clone(), away.clone()), (away, home)]
        });
        let loved = FANS.iter().flat_map(|fan| {
            fan.teams
                .iter()
                .map(|team| (fan.handle.to_owned(), handle_of(team)))
        });
        let mut pairs: Vec<_> = met.chain(loved).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let at = "2022-11-10T12:00:00Z".parse()?;
        stream::iter(&pairs)
            .map(Ok)
            .try_for_each_concurrent(AT_ONCE, |(follower, followee)| async move {
                let envelope = command(
                    &format!("{follower} follows {followee}"),
                    Some(account(accounts, follower)?),
                    at,
                );
                users::follow(&self.identity.bus, &envelope, account(accounts, followee)?).await?;
                anyhow::Ok(())
            })
            .await?;
        Ok(pairs.len())
    }

    /// Each match as a post by both teams, in the order in which they were played.
    async fn posts(
        &self,
        matches: &[Match],
        accounts: &BTreeMap<String, UserId>,
    ) -> anyhow::Result<usize> {
        for (number, played) in matches.iter().enumerate() {
            for team in [&played.home, &played.away] {
                let handle = handle_of(team);
                let envelope = command(
                    &format!("{handle} posts match {number}"),
                    Some(account(accounts, &handle)?),
                    played.at,
                );
                let post = NewPost {
                    caption: Caption::parse(&played.caption())?,
                    category: Some(Category::parse("match")?),
                    device: None,
                    tags: Tags::new([Tag::parse("worldcup2022")?, Tag::parse(&played.tag())?])?,
                    visibility: Visibility::Public,
                };
                posts::publish(&self.identity.bus, &envelope, post).await?;
            }
        }
        Ok(matches.len() * 2)
    }
}

/// The command that does `what`, at the time of the facts.
fn command(what: &str, actor: Option<UserId>, at: Timestamp) -> Envelope {
    let id = Uuid::new_v5(&COMMANDS, what.as_bytes());
    let mut fingerprint = [0; 32];
    for (byte, from) in fingerprint.iter_mut().zip(id.as_bytes()) {
        *byte = *from;
    }
    Envelope {
        command_id: CommandId::new(id),
        keyed: true,
        fingerprint,
        actor,
        correlation_id: System.next(),
        causation_id: None,
        at,
    }
}

fn account(accounts: &BTreeMap<String, UserId>, handle: &str) -> anyhow::Result<UserId> {
    accounts
        .get(handle)
        .copied()
        .with_context(|| format!("the demo has no account {handle}"))
}

/// `Saudi Arabia` is `saudi_arabia`.
fn handle_of(name: &str) -> String {
    name.to_lowercase().replace(' ', "_")
}

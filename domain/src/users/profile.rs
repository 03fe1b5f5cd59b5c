//! The profile aggregate: what others see of a person. It has the account's id and no event until
//! its first change.

use super::{Bio, Locale, Location, ProfileChanged, ProfileEvent, TimeZone};
use crate::aggregate::Decider;
use crate::clock::Timestamp;
use crate::cqrs_aggregate;
use crate::id::UserId;
use crate::identity::DisplayName;
use crate::personal::{Personal, changed};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

/// A profile, as its events tell it. Its size is bounded by the limits of its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The full name; none while the account's counts.
    pub display_name: Option<Personal<DisplayName>>,
    /// What the person tells about themselves.
    pub bio: Personal<Bio>,
    /// Where the person is, in words.
    pub location: Personal<Location>,
    /// The language; none when never told.
    pub locale: Option<Personal<Locale>>,
    /// The time zone; none when never told.
    pub time_zone: Option<Personal<TimeZone>>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            display_name: None,
            bio: Bio::default().into(),
            location: Location::default().into(),
            locale: None,
            time_zone: None,
        }
    }
}

/// What may be asked of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileCommand {
    /// Set the fields that are given.
    Change(ChangeProfile),
}

/// Set the fields that are given; the others stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeProfile {
    /// Whose profile.
    pub user_id: UserId,
    /// The account's full name, which counts while the profile has none of its own: to set it is
    /// no change.
    pub registered_name: Personal<DisplayName>,
    /// The full name to have.
    pub display_name: Option<DisplayName>,
    /// The text about oneself to have.
    pub bio: Option<Bio>,
    /// The place to have.
    pub location: Option<Location>,
    /// The language to have.
    pub locale: Option<Locale>,
    /// The time zone to have.
    pub time_zone: Option<TimeZone>,
    /// Now.
    pub at: Timestamp,
}

impl Decider for Profile {
    const TYPE: &'static str = "profile";
    /// A change a day for more than thirteen years.
    const EVENTS_MAX: u32 = 5_000;
    type Command = ProfileCommand;
    type Event = ProfileEvent;
    type Error = Infallible;

    fn decide(&self, command: ProfileCommand) -> Result<Vec<ProfileEvent>, Infallible> {
        let ProfileCommand::Change(command) = command;
        let name_now = self
            .display_name
            .as_ref()
            .unwrap_or(&command.registered_name);
        let event = ProfileChanged {
            user_id: command.user_id,
            display_name: changed(command.display_name, |it| name_now.is(it)),
            bio: changed(command.bio, |it| self.bio.is(it)),
            location: changed(command.location, |it| self.location.is(it)),
            locale: changed(command.locale, |it| {
                self.locale.as_ref().is_some_and(|now| now.is(it))
            }),
            time_zone: changed(command.time_zone, |it| {
                self.time_zone.as_ref().is_some_and(|now| now.is(it))
            }),
            changed_at: command.at,
        };
        let changes_anything = event.display_name.is_some()
            || event.bio.is_some()
            || event.location.is_some()
            || event.locale.is_some()
            || event.time_zone.is_some();
        Ok(if changes_anything {
            vec![event.into()]
        } else {
            Vec::new()
        })
    }

    /// To take out what one told about oneself is taking back.
    fn takes_back(command: &ProfileCommand) -> bool {
        let ProfileCommand::Change(command) = command;
        let is_emptied = |bio: &Option<Bio>| bio.as_ref().is_none_or(|it| *it == Bio::default());
        let is_nowhere =
            |it: &Option<Location>| it.as_ref().is_none_or(|it| *it == Location::default());
        is_emptied(&command.bio)
            && is_nowhere(&command.location)
            && command.display_name.is_none()
            && command.locale.is_none()
            && command.time_zone.is_none()
    }

    fn evolve(&mut self, event: &ProfileEvent) {
        let ProfileEvent::ProfileChanged(event) = event;
        if let Some(display_name) = &event.display_name {
            self.display_name = Some(display_name.clone());
        }
        if let Some(bio) = &event.bio {
            self.bio.clone_from(bio);
        }
        if let Some(location) = &event.location {
            self.location.clone_from(location);
        }
        if let Some(locale) = &event.locale {
            self.locale = Some(locale.clone());
        }
        if let Some(time_zone) = &event.time_zone {
            self.time_zone = Some(time_zone.clone());
        }
    }
}

cqrs_aggregate!(Profile);

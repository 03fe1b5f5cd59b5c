//! Events: what has happened, under names that never change.

use crate::id::UserId;
use crate::personal::PersonalFields;
use serde_json::{Map, Value};
use thiserror::Error;

/// Lifts the payload of an older version to the next one.
#[derive(Debug, Clone, Copy)]
pub struct Upcaster {
    /// The frozen name of the event.
    pub event: &'static str,
    /// The version that it lifts.
    pub from: &'static str,
    /// Gives the fields of the event the shape of the version after it.
    pub lift: fn(Map<String, Value>) -> Map<String, Value>,
}

/// For a version that differs from the next one only in how its fields are stored.
#[must_use]
pub fn same_shape(fields: Map<String, Value>) -> Map<String, Value> {
    fields
}

/// A domain event: one variant of a context's event enum.
///
/// The JSON of an event is externally tagged with its frozen name
/// (`{"posts.post_deleted": {…}}`), so that stock cqrs-es reads it as well. An implementation is
/// made by [`events!`](crate::events).
pub trait Event: cqrs_es::DomainEvent + Sized + 'static {
    /// Every name this enum knows, with the version that is written today.
    const TYPES: &'static [(&'static str, &'static str)];

    /// Which fields are personal, and whose.
    const PERSONAL: &'static [PersonalFields];

    /// How older versions are read. Those of one event stand in the order of their versions, and
    /// each lifts to the next.
    const UPCASTERS: &'static [Upcaster];

    /// The frozen name of this event, `context.fact`, for instance `posts.post_published`.
    fn name(&self) -> &'static str;

    /// The version of this event's shape that is written today.
    fn version(&self) -> &'static str;

    /// Whose personal data the event has.
    fn owners(&self) -> Vec<UserId>;

    /// Whether events of this name belong to this enum.
    #[must_use]
    fn knows(name: &str) -> bool {
        Self::TYPES.iter().any(|(known, _)| *known == name)
    }

    /// Whether this build understands events of this name and version.
    ///
    /// # Errors
    /// [`DecodeError::UnknownType`] and [`DecodeError::UnknownVersion`] when it does not: they were
    /// written by a newer one.
    fn check(name: &str, version: &str) -> Result<(), DecodeError> {
        match Self::TYPES.iter().find(|(known, _)| *known == name) {
            None => Err(DecodeError::UnknownType {
                name: name.to_owned(),
            }),
            Some((_, current))
                if *current == version || upcasters::<Self>(name, version).next().is_some() =>
            {
                Ok(())
            }
            Some(_) => Err(DecodeError::UnknownVersion {
                name: name.to_owned(),
                version: version.to_owned(),
            }),
        }
    }

    /// The event stored under `name` and `version` with this JSON payload, whose personal fields
    /// are opened.
    ///
    /// # Errors
    /// As [`Event::check`], and [`DecodeError::Payload`] when the JSON does not fit.
    fn decode(name: &str, version: &str, payload: &str) -> Result<Self, DecodeError> {
        Self::check(name, version)?;
        let mut upcasters = upcasters::<Self>(name, version).peekable();
        let decoded = if upcasters.peek().is_none() {
            serde_json::from_str(payload)
        } else {
            lift(name, payload, upcasters)
        };
        decoded.map_err(|source| DecodeError::Payload {
            name: name.to_owned(),
            source,
        })
    }
}

/// What lifts events of this name from `version` to today's, in order; nothing from today's.
fn upcasters<'a, E: Event>(
    name: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'static Upcaster> + 'a {
    E::UPCASTERS
        .iter()
        .filter(move |upcaster| upcaster.event == name)
        .skip_while(move |upcaster| upcaster.from != version)
}

fn lift<E: Event>(
    name: &str,
    payload: &str,
    upcasters: impl Iterator<Item = &'static Upcaster>,
) -> Result<E, serde_json::Error> {
    let mut event: Map<String, Value> = serde_json::from_str(payload)?;
    if let Some(Value::Object(fields)) = event.get_mut(name) {
        *fields = upcasters.fold(std::mem::take(fields), |fields, upcaster| {
            (upcaster.lift)(fields)
        });
    }
    serde_json::from_value(Value::Object(event))
}

/// Why a stored event could not be understood.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// No event of this name is known.
    #[error("event type {name} is not known to this build")]
    UnknownType {
        /// The stored name.
        name: String,
    },
    /// The name is known, but not in this version.
    #[error("version {version} of event type {name} is not known to this build")]
    UnknownVersion {
        /// The stored name.
        name: String,
        /// The stored version.
        version: String,
    },
    /// The payload does not have the shape of the event.
    #[error("the payload of a {name} event does not have its shape")]
    Payload {
        /// The stored name.
        name: String,
        /// What did not fit.
        #[source]
        source: serde_json::Error,
    },
}

/// Declares an event enum: each variant wraps the struct of the same name and has a frozen stored
/// name, a version, the fields that are personal by owner, and how older versions are read.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use touchline_domain::{event::same_shape, id::UserId, personal::Personal};
/// /// Somebody opened a door.
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// pub struct DoorOpened {
///     /// Who.
///     pub user_id: UserId,
///     /// What they called out.
///     pub words: Personal<String>,
/// }
///
/// touchline_domain::events! {
///     /// What happens to a door.
///     pub enum DoorEvent {
///         "doors.door_opened" v "2" => DoorOpened personal(user_id: words) from "1" by same_shape,
///     }
/// }
/// ```
#[macro_export]
macro_rules! events {
    ($(#[$meta:meta])* pub enum $enum:ident {
        $($name:literal v $version:literal => $variant:ident
            $(personal($owner:ident: $($field:ident),+))*
            $(from $old:literal by $lift:ident)*
        ),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub enum $enum {
            $(
                #[doc = concat!("`", $name, "`, version ", $version, ".")]
                #[serde(rename = $name)]
                $variant($variant),
            )+
        }

        $(impl From<$variant> for $enum {
            fn from(event: $variant) -> Self {
                Self::$variant(event)
            }
        })+

        impl $crate::event::Event for $enum {
            const TYPES: &'static [(&'static str, &'static str)] = &[$(($name, $version)),+];
            const PERSONAL: &'static [$crate::personal::PersonalFields] = &[$($(
                $crate::personal::PersonalFields {
                    event: $name,
                    owner: stringify!($owner),
                    fields: &[$(stringify!($field)),+],
                },
            )*)+];
            const UPCASTERS: &'static [$crate::event::Upcaster] = &[$($(
                $crate::event::Upcaster { event: $name, from: $old, lift: $lift },
            )*)+];

            fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name),+ }
            }

            fn version(&self) -> &'static str {
                match self { $(Self::$variant(_) => $version),+ }
            }

            fn owners(&self) -> Vec<$crate::id::UserId> {
                match self {
                    $(Self::$variant(event) => {
                        let _ = event;
                        let owners: &[Option<$crate::id::UserId>] =
                            &[$($crate::personal::Owner::owner(&event.$owner)),*];
                        owners.iter().copied().flatten().collect()
                    })+
                }
            }
        }

        $($(const _: fn(&$variant) = |event| {
            $crate::personal::assert_owner(&event.$owner);
            $($crate::personal::assert_personal(&event.$field);)+
        };)*)+

        impl cqrs_es::DomainEvent for $enum {
            fn event_type(&self) -> String {
                $crate::event::Event::name(self).to_owned()
            }

            fn event_version(&self) -> String {
                $crate::event::Event::version(self).to_owned()
            }
        }
    };
}

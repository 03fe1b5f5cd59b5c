//! Events: what has happened, under names that never change.

use thiserror::Error;

/// A domain event: one variant of a context's event enum.
///
/// The JSON of an event is externally tagged with its frozen name
/// (`{"posts.post_deleted": {…}}`), so that stock cqrs-es reads it as well. An implementation is
/// made by [`events!`](crate::events).
pub trait Event: cqrs_es::DomainEvent + Sized + 'static {
    /// Every name this enum knows, with the version that is written today.
    const TYPES: &'static [(&'static str, &'static str)];

    /// The frozen name of this event, `context.fact`, for instance `posts.post_published`.
    fn name(&self) -> &'static str;

    /// The version of this event's shape that is written today.
    fn version(&self) -> &'static str;

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
            Some((_, current)) if *current != version => Err(DecodeError::UnknownVersion {
                name: name.to_owned(),
                version: version.to_owned(),
            }),
            Some(_) => Ok(()),
        }
    }

    /// The event stored under `name` and `version` with this JSON payload.
    ///
    /// # Errors
    /// As [`Event::check`], and [`DecodeError::Payload`] when the JSON does not fit.
    fn decode(name: &str, version: &str, payload: &str) -> Result<Self, DecodeError> {
        Self::check(name, version)?;
        serde_json::from_str(payload).map_err(|source| DecodeError::Payload {
            name: name.to_owned(),
            source,
        })
    }
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
/// name and a version.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// /// A door was opened.
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// pub struct DoorOpened {}
///
/// touchline_domain::events! {
///     /// What happens to a door.
///     pub enum DoorEvent {
///         "doors.door_opened" v "1" => DoorOpened,
///     }
/// }
/// ```
#[macro_export]
macro_rules! events {
    ($(#[$meta:meta])* pub enum $enum:ident {
        $($name:literal v $version:literal => $variant:ident),+ $(,)?
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

            fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name),+ }
            }

            fn version(&self) -> &'static str {
                match self { $(Self::$variant(_) => $version),+ }
            }
        }

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

//! From the fields of a body to domain values, gathering everything that is wrong.

use crate::problem::{FieldProblem, Place, Problem, ProblemCode};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::str::FromStr;
use touchline_domain::value::ValueError;

/// The fields found wrong so far.
#[derive(Debug, Default)]
pub(crate) struct FieldErrors {
    fields: Vec<FieldProblem>,
    refusal: Option<ProblemCode>,
}

impl FieldErrors {
    pub(crate) const fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.refusal.is_none()
    }

    pub(crate) fn into_problem(self) -> Problem {
        self.refusal
            .map_or_else(|| Problem::invalid(self.fields), Problem::new)
    }

    /// Refuses the whole body for a reason of its own, whatever else is wrong with it.
    pub(crate) const fn refuse(&mut self, reason: ProblemCode) {
        self.refusal = Some(reason);
    }

    /// Reports the field `name`.
    pub(crate) fn report(
        &mut self,
        name: &str,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) {
        self.fields
            .push(FieldProblem::new(super::field(name), code, detail));
    }

    /// The value of a field, or none and a report.
    pub(crate) fn value<T>(&mut self, name: &str, value: Result<T, ValueError>) -> Option<T> {
        self.value_at(super::field(name), value)
    }

    /// The value at a place deeper in the body, or none and a report.
    pub(crate) fn value_at<T>(&mut self, place: Place, value: Result<T, ValueError>) -> Option<T> {
        value
            .map_err(|error| {
                self.fields
                    .push(FieldProblem::new(place, error.code(), error.to_string()));
            })
            .ok()
    }

    /// The value that a text field stands for, or none and a report.
    pub(crate) fn text<T: FromStr<Err = ValueError>>(
        &mut self,
        name: &str,
        text: &str,
    ) -> Option<T> {
        self.value(name, text.parse())
    }

    /// The value that an optional text field stands for: some none when it is not given, and none
    /// and a report when it is wrong.
    #[expect(
        clippy::option_option,
        reason = "the outer one says whether parsing may go on"
    )]
    pub(crate) fn optional<T: FromStr<Err = ValueError>>(
        &mut self,
        name: &str,
        text: Option<&str>,
    ) -> Option<Option<T>> {
        match text {
            None => Some(None),
            Some(text) => self.text(name, text).map(Some),
        }
    }

    /// What must be given, or none and a report.
    pub(crate) fn required<T>(&mut self, name: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.report(name, "required", "must be given");
        }
        value
    }

    /// What a patch sets a text field to that cannot be cleared: some none when it leaves it.
    #[expect(
        clippy::option_option,
        reason = "the outer one says whether parsing may go on"
    )]
    pub(crate) fn settable<T: FromStr<Err = ValueError>>(
        &mut self,
        name: &str,
        change: &Change<String>,
    ) -> Option<Option<T>> {
        match change {
            Change::Keep => Some(None),
            Change::Set(text) => self.text(name, text).map(Some),
            Change::Clear => {
                self.report(name, "required", "cannot be cleared");
                None
            }
        }
    }

    /// What a patch sets a text field to whose cleared state is the empty text.
    #[expect(
        clippy::option_option,
        reason = "the outer one says whether parsing may go on"
    )]
    pub(crate) fn clearable<T: FromStr<Err = ValueError>>(
        &mut self,
        name: &str,
        change: &Change<String>,
    ) -> Option<Option<T>> {
        match change {
            Change::Keep => Some(None),
            Change::Set(text) => self.text(name, text).map(Some),
            Change::Clear => self.text(name, "").map(Some),
        }
    }
}

/// What a patch does with a field (RFC 7396): leaves it, clears it with null, or sets it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Change<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<T> Change<T> {
    /// What is given, be it null; nothing is left.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Keep)
    }

    /// The value that is given; none for null as for nothing.
    pub(crate) fn set(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }

    /// Whether something is given, be it null.
    pub(crate) const fn is_given(&self) -> bool {
        !matches!(self, Self::Keep)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

//! The values of a profile.

use crate::value::{
    LINE_OR_NOTHING, LINES_OR_NOTHING, Limits, ValueError, line, lines, text_value, trim,
};

text_value! {
    /// What somebody tells about themselves; may be empty.
    Bio, 0..=500, lines, LINES_OR_NOTHING
}

text_value! {
    /// Where somebody is, in words; may be empty.
    Location, 0..=120, line, LINE_OR_NOTHING
}

text_value! {
    /// A language, as a BCP 47 tag in its usual case: `pt-BR`, `zh-Hant-TW`. The form is checked,
    /// not whether the language is registered.
    Locale, 2..=35, locale, r"^\s*[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*\s*$"
}

text_value! {
    /// A time zone by its name in the IANA time zone database: `America/Argentina/Buenos_Aires`.
    /// Not every text of that form is a name there.
    TimeZone, 2..=64, time_zone, r"^\s*[A-Za-z][A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*\s*$"
}

impl Default for Bio {
    /// Nothing told.
    fn default() -> Self {
        Self(String::new())
    }
}

impl Default for Location {
    /// Nowhere told.
    fn default() -> Self {
        Self(String::new())
    }
}

/// A language of two or three letters, then subtags of one to eight letters or digits
/// (RFC 5646, 2.1), in the case that 2.1.1 recommends: script titled, region in capitals.
fn locale(text: &str, limits: Limits) -> Result<String, ValueError> {
    const MALFORMED: ValueError = ValueError::Malformed {
        expected: "a language tag, such as en or pt-BR",
    };
    let text = limits.check(trim(text).to_owned())?;
    let mut subtags = text.split('-');
    let language = subtags.next().unwrap_or_default();
    if !matches!(language.len(), 2..=3) || !language.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Err(MALFORMED);
    }
    let mut canonical = language.to_ascii_lowercase();
    let mut after_singleton = false;
    for subtag in subtags {
        if !matches!(subtag.len(), 1..=8) || !subtag.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(MALFORMED);
        }
        let lower = subtag.to_ascii_lowercase();
        canonical.push('-');
        match (after_singleton, subtag.len()) {
            (false, 2) => canonical.push_str(&subtag.to_ascii_uppercase()),
            (false, 4) => {
                let (first, rest) = lower.split_at(1);
                canonical.push_str(&first.to_ascii_uppercase());
                canonical.push_str(rest);
            }
            _ => canonical.push_str(&lower),
        }
        after_singleton |= subtag.len() == 1;
    }
    Ok(canonical)
}

/// The table is compiled in. The time zone database keeps every name that it ever had, as a link
/// when zones merge, so that a stored name stays known.
fn time_zone(text: &str, limits: Limits) -> Result<String, ValueError> {
    const EXPECTED: &str = "the IANA name of a time zone, such as Europe/Lisbon";
    let text = limits.check(trim(text).to_owned())?;
    let part_ok = |part: &str| {
        let of_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-');
        !part.is_empty() && part.bytes().all(of_name)
    };
    let begins_ok =
        text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.find('/') != Some(1);
    if !begins_ok || !text.split('/').all(part_ok) {
        return Err(ValueError::Malformed { expected: EXPECTED });
    }
    text.parse::<chrono_tz::Tz>()
        .map(|zone| zone.name().to_owned())
        .map_err(|_no_zone| ValueError::Unknown { expected: EXPECTED })
}

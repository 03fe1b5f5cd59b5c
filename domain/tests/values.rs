//! What parses, at each limit and one beyond it, and that parsing twice changes nothing.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use regex::Regex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::LazyLock;
use touchline_domain::identity::{
    Address, BirthYear, Contact, CricketRole, DisplayName, Email, ExperienceYears, Gender, Handle,
    Organization, PlayingRole, Role, Sport,
};
use touchline_domain::posts::{Caption, Category, CommentText, Device, Tag, Tags, Visibility};
use touchline_domain::users::{Bio, Locale, Location, TimeZone};
use touchline_domain::value::ValueError;

macro_rules! limits {
    ($($test:ident: $value:ident $min:literal..=$max:literal of $char:literal;)+) => {$(
        #[test]
        fn $test() {
            assert_eq!(($value::MIN_CHARS, $value::MAX_CHARS), ($min, $max));
            let of = |chars: usize| $value::parse(&$char.repeat(chars));
            assert_eq!(of($max).unwrap().as_str(), $char.repeat($max));
            assert_eq!(of($max + 1), Err(ValueError::TooLong { max: $max }));
            assert_eq!(of($min).unwrap().as_str(), $char.repeat($min));
            match $min {
                0 => {}
                1 => assert_eq!(of(0), Err(ValueError::Empty)),
                _ => assert_eq!(of($min - 1), Err(ValueError::TooShort { min: $min })),
            }
            // What is trimmed counts too: the limit is that of the text as it is sent.
            let blank = $value::parse(&" ".repeat($max));
            assert_eq!(blank.err(), ($min > 0).then_some(ValueError::Empty));
            let padded = $value::parse(&format!(" {} ", $char.repeat($max - 2)));
            assert_eq!(padded.unwrap().as_str(), $char.repeat($max - 2));
            let padded = $value::parse(&format!(" {} ", $char.repeat($max - 1)));
            assert_eq!(padded, Err(ValueError::TooLong { max: $max }));
        }
    )+};
}

limits! {
    handle_limits: Handle 3..=30 of "a";
    display_name_limits: DisplayName 1..=80 of "é";
    sport_limits: Sport 1..=40 of "é";
    playing_role_limits: PlayingRole 1..=60 of "é";
    address_limits: Address 1..=120 of "é";
    contact_limits: Contact 1..=200 of "é";
    organization_limits: Organization 1..=120 of "é";
    bio_limits: Bio 0..=500 of "é";
    location_limits: Location 0..=120 of "é";
    caption_limits: Caption 1..=2200 of "é";
    category_limits: Category 1..=50 of "é";
    device_limits: Device 1..=80 of "é";
    tag_limits: Tag 1..=50 of "é";
    comment_limits: CommentText 1..=500 of "é";
}

fn malformed<V>(parsed: &Result<V, ValueError>) -> bool {
    matches!(parsed, Err(ValueError::Malformed { .. }))
}

#[test]
fn email_has_one_at_a_dotted_domain_and_no_blank() {
    for good in [
        "a@b.c",
        "Ana.Silva+news@mail.example.org",
        "o'brien@example.ie",
        "jörg@bücher.example",
    ] {
        assert_eq!(Email::parse(good).unwrap().as_str(), good);
    }
    for bad in [
        "ana.example.org",
        "ana@@example.org",
        "ana@silva@example.org",
        "@example.org",
        "ana@",
        "ana@example",
        "ana@.org",
        "ana@example.",
        "ana@-example.org",
        "ana silva@example.org",
        "ana@exa mple.org",
        "ana\u{0}@example.org",
        "Ana <ana@example.org>",
        "a,b@example.org",
    ] {
        assert!(malformed(&Email::parse(bad)), "{bad}");
    }
}

#[test]
fn email_limits_are_those_of_smtp() {
    let local = "l".repeat(64);
    let of = |chars: usize| format!("{local}@{}.example", "d".repeat(chars - 64 - 1 - 8));
    assert_eq!(Email::parse(&of(254)).unwrap().as_str().len(), 254);
    assert_eq!(
        Email::parse(&of(255)),
        Err(ValueError::TooLong { max: 254 })
    );
    assert!(malformed(&Email::parse(&format!("{local}l@example.org"))));
    assert_eq!(Email::parse(""), Err(ValueError::Empty));
}

#[test]
fn email_is_claimed_in_lower_case_and_kept_as_written() {
    let email = Email::parse(" Ana@Example.ORG ").unwrap();
    assert_eq!(email.as_str(), "Ana@Example.ORG");
    assert_eq!(email.claim_key(), "ana@example.org");
}

#[test]
fn handle_is_lower_case_ascii_and_begins_with_a_letter_or_digit() {
    assert_eq!(
        Handle::parse("Ana.Silva_7").unwrap().as_str(),
        "ana.silva_7"
    );
    assert_eq!(Handle::parse("7ana").unwrap().as_str(), "7ana");
    for bad in ["_ana", ".ana", "ana silva", "ana-silva", "josé", "ana@x"] {
        assert!(malformed(&Handle::parse(bad)), "{bad}");
    }
}

#[test]
fn reserved_handles_parse_but_say_so() {
    for word in ["root", "Admin", "touchline", "support"] {
        assert!(Handle::parse(word).unwrap().is_reserved(), "{word}");
    }
    // A path such as `/users/me` needs no reservation: it is too short for a handle.
    assert!(Handle::parse("me").is_err());
    assert!(!Handle::parse("rooted").unwrap().is_reserved());
}

#[test]
fn sport_joins_its_words() {
    for (text, sport) in [
        ("Football", "football"),
        ("  Table  Tennis ", "table-tennis"),
        ("table_tennis", "table-tennis"),
        ("क्रिकेट", "क्रिकेट"),
    ] {
        assert_eq!(Sport::parse(text).unwrap().as_str(), sport);
    }
    assert!(Sport::parse("Cricket").unwrap().is_cricket());
    assert!(!Sport::parse("indoor cricket").unwrap().is_cricket());
    assert!(malformed(&Sport::parse("foot/ball")));
    assert_eq!(Sport::parse(" - "), Err(ValueError::Empty));
}

#[test]
fn one_line_refuses_what_lines_allow() {
    assert!(malformed(&DisplayName::parse("Ana\nSilva")));
    assert!(malformed(&DisplayName::parse("Ana\n")));
    assert!(malformed(&Location::parse("Lis\tboa")));
    assert_eq!(Caption::parse("a\r\n\tb").unwrap().as_str(), "a\n\tb");
    assert_eq!(Caption::parse("a\rb\r").unwrap().as_str(), "a\nb");
    for bad in ["a\u{0}b", "a\u{b}", "a\u{1b}[31mb", "a\u{85}b"] {
        assert!(malformed(&Caption::parse(bad)), "{bad:?}");
        assert!(malformed(&Bio::parse(bad)), "{bad:?}");
        assert!(malformed(&CommentText::parse(bad)), "{bad:?}");
    }
}

#[test]
fn locale_takes_its_usual_case() {
    for (text, locale) in [
        ("EN", "en"),
        ("pt-br", "pt-BR"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("de-de-u-co-phonebk", "de-DE-u-co-phonebk"),
    ] {
        assert_eq!(Locale::parse(text).unwrap().as_str(), locale);
    }
    for bad in [
        "english",
        "e1",
        "en_GB",
        "en-",
        "en--GB",
        "en-toolongsubtag",
    ] {
        assert!(malformed(&Locale::parse(bad)), "{bad}");
    }
    let longest = format!("en{}", "-a2345678".repeat(3) + "-a23456");
    assert_eq!(longest.len(), 36);
    assert_eq!(
        Locale::parse(&longest),
        Err(ValueError::TooLong { max: 35 })
    );
    let longest = &longest[..35];
    assert_eq!(Locale::parse(longest).unwrap().as_str(), longest);
    assert_eq!(Locale::parse("e"), Err(ValueError::TooShort { min: 2 }));
}

#[test]
fn time_zone_is_known_to_iana() {
    for good in [
        "UTC",
        "Europe/Lisbon",
        "America/Argentina/Buenos_Aires",
        "Asia/Calcutta",
    ] {
        assert_eq!(TimeZone::parse(good).unwrap().as_str(), good);
    }
    for unknown in ["Europe/Atlantis", "europe/lisbon"] {
        let parsed = TimeZone::parse(unknown);
        assert!(
            matches!(parsed, Err(ValueError::Unknown { .. })),
            "{parsed:?}"
        );
    }
    for bad in ["+01:00", "../etc/passwd", "Europe//Lisbon", "Lisboã"] {
        assert!(malformed(&TimeZone::parse(bad)), "{bad}");
    }
    assert_eq!(TimeZone::parse(""), Err(ValueError::Empty));
}

#[test]
fn tag_is_one_word_of_any_script() {
    for (text, tag) in [
        ("#Final", "final"),
        ("World_Cup2022", "world_cup2022"),
        ("2022", "2022"),
        ("फ़ुटबॉल", "फ़ुटबॉल"),
        ("サッカー", "サッカー"),
    ] {
        assert_eq!(Tag::parse(text).unwrap().as_str(), tag);
    }
    for bad in ["two words", "a-b", "a.b", "##a", "_", "⚽"] {
        assert!(malformed(&Tag::parse(bad)), "{bad}");
    }
    assert_eq!(Tag::parse("#"), Err(ValueError::Empty));
}

#[test]
fn tags_are_unique_ordered_and_bounded() {
    let tag = |text: &str| Tag::parse(text).unwrap();
    let tags = Tags::new(["b", "a", "B", "c"].map(tag)).unwrap();
    assert_eq!(tags.as_slice(), ["b", "a", "c"].map(tag));
    assert_eq!(tags.iter().count(), 3);

    let many = |count: usize| Tags::new((0..count).map(|n| tag(&n.to_string())));
    assert_eq!(many(30).unwrap().as_slice().len(), Tags::MAX_ITEMS);
    assert_eq!(many(31), Err(ValueError::TooMany { max: 30 }));
    let thirty_and_again = (0..60).map(|n| tag(&(n % 30).to_string()));
    assert_eq!(Tags::new(thirty_and_again), many(30));
    let too_many: Vec<String> = (0..31).map(|n| n.to_string()).collect();
    let json = serde_json::to_string(&too_many).unwrap();
    assert!(serde_json::from_str::<Tags>(&json).is_err());
}

#[test]
fn numbers_stay_within_their_limits_in_json_too() {
    for (number, ok) in [(1899, false), (1900, true), (2100, true), (2101, false)] {
        assert_eq!(BirthYear::try_from(number).is_ok(), ok, "{number}");
        let json = serde_json::from_str::<BirthYear>(&number.to_string());
        assert_eq!(json.is_ok(), ok, "{number}");
    }
    for (number, ok) in [(-1, false), (0, true), (80, true), (81, false)] {
        assert_eq!(ExperienceYears::try_from(number).is_ok(), ok, "{number}");
    }
    assert_eq!(
        BirthYear::try_from(i64::MAX),
        Err(ValueError::OutOfRange {
            min: 1900,
            max: 2100
        })
    );
    assert_eq!(BirthYear::try_from(1999).unwrap().get(), 1999);
    assert!(serde_json::from_str::<BirthYear>("1999.5").is_err());
    assert!(serde_json::from_str::<BirthYear>("\"1999\"").is_err());
}

#[test]
fn choices_have_one_word_in_code_and_in_json() {
    fn check<C>(all: &[C])
    where
        C: Copy + Debug + PartialEq + ToString + FromStr<Err = ValueError>,
        C: Serialize + DeserializeOwned,
    {
        for choice in all {
            let word = choice.to_string();
            assert_eq!(word.parse(), Ok(*choice));
            assert_eq!(
                serde_json::to_value(choice).unwrap(),
                serde_json::json!(word)
            );
        }
        assert!(malformed(&"Admin".parse::<C>()));
    }
    check(Gender::ALL);
    check(Role::ALL);
    check(CricketRole::ALL);
    check(Visibility::ALL);
    assert_eq!(Role::ALL.len(), 6);
}

/// The pattern of a value as this crate's engine reads it: its `\s` lacks what ECMA-262 has besides,
/// and has U+0085 besides.
fn pattern(of_value: &str) -> Regex {
    let in_class = of_value.replace(r"[^\s", r"[^\t-\r\p{Z}\u{FEFF}");
    let in_class = in_class.replace(r"[\s", r"[\t-\r\p{Z}\u{FEFF}");
    Regex::new(&in_class.replace(r"\s", r"[\t-\r\p{Z}\u{FEFF}]")).unwrap()
}

/// The texts that match a pattern, the exotic ones too. The generator knows no anchors.
fn matching(of_value: &str) -> impl Strategy<Value = String> + use<> {
    let inside = of_value.trim_start_matches('^').trim_end_matches('$');
    proptest::string::string_regex(inside).unwrap()
}

macro_rules! patterns_say_what_parses {
    ($($test:ident: $value:ident),+ $(,)?) => {$(
        proptest! {
            #[test]
            fn $test(
                like in matching($value::PATTERN),
                other in prop_oneof![
                    "[#a-zA-Z0-9À-ſΑ-Ω_@. \r\n-]{0,60}",
                    "[\0-\u{A0}\u{2028}\u{FEFF}]{1,5}",
                    "[\t \u{FEFF}]{0,2}[#a-zA-ZÀ-ſΑ-Ω]{1,3}[-@_./+]?[a-z0-9]{0,3}[.\n\u{85}\u{B}]{0,2}",
                ],
            ) {
                static PATTERN: LazyLock<Regex> = LazyLock::new(|| pattern($value::PATTERN));
                for text in [like, other] {
                    let parsed = $value::parse(&text);
                    let chars = text.chars().count();
                    let fits = ($value::MIN_CHARS..=$value::MAX_CHARS).contains(&chars)
                        && PATTERN.is_match(&text);
                    // Whether a name is known, and how long it is in lower case, no pattern tells.
                    let known = !matches!(
                        parsed,
                        Err(ValueError::Unknown { .. } | ValueError::TooLong { .. })
                    );
                    if known {
                        prop_assert_eq!(parsed.is_ok(), fits, "{:?}: {:?}", text, parsed);
                    } else if chars <= $value::MAX_CHARS {
                        prop_assert!(fits, "{text:?}");
                    }
                }
            }
        }
    )+};
}

patterns_say_what_parses! {
    email_pattern: Email,
    handle_pattern: Handle,
    display_name_pattern: DisplayName,
    sport_pattern: Sport,
    playing_role_pattern: PlayingRole,
    address_pattern: Address,
    contact_pattern: Contact,
    organization_pattern: Organization,
    bio_pattern: Bio,
    location_pattern: Location,
    locale_pattern: Locale,
    time_zone_pattern: TimeZone,
    caption_pattern: Caption,
    category_pattern: Category,
    device_pattern: Device,
    tag_pattern: Tag,
    comment_pattern: CommentText,
}

/// What holds for every text that parses, whatever the value.
macro_rules! parses_to_itself {
    ($($value:ident),+ $(,)?) => {
        proptest! {
            #[test]
            fn parsing_what_was_parsed_changes_nothing(
                text in prop_oneof![any::<String>(), "[#a-zA-Z0-9À-ſΑ-Ω_@. \r\n-]{0,60}"],
            ) {
                $(if let Ok(value) = $value::parse(&text) {
                    let chars = value.as_str().chars().count();
                    prop_assert!(($value::MIN_CHARS..=$value::MAX_CHARS).contains(&chars));
                    prop_assert!(!value.as_str().contains(['\r', '\0']));
                    prop_assert_eq!(&$value::parse(value.as_str()), &Ok(value.clone()));
                    let json = serde_json::to_string(&value).unwrap();
                    prop_assert_eq!(serde_json::from_str::<$value>(&json).unwrap(), value);
                })+
            }
        }
    };
}

parses_to_itself!(
    Email,
    Handle,
    DisplayName,
    Sport,
    PlayingRole,
    Bio,
    Location,
    Locale,
    TimeZone,
    Caption,
    Category,
    Device,
    Tag,
    CommentText,
);

//! The values of an account.

use crate::value::{
    LINE, Limits, ValueError, choice, is_of_word, is_space, line, number_value, text_value, trim,
};
use serde::{Deserialize, Serialize};

text_value! {
    /// An e-mail address, as its owner writes it. Two that differ in case only are the same
    /// address: compare [`Email::claim_key`].
    ///
    /// The length is the longest that SMTP can deliver to (RFC 5321, 4.5.3.1.3).
    Email, 3..=254, email, EMAIL
}

impl Email {
    /// The longest part before the `@` (RFC 5321, 4.5.3.1.1), in characters.
    pub const LOCAL_MAX_CHARS: usize = 64;

    /// What is unique among accounts: the address in lower case.
    #[must_use]
    pub fn claim_key(&self) -> String {
        self.0.to_lowercase()
    }
}

text_value! {
    /// The public short name: lower-case ASCII letters, digits, `_` and `.`, beginning with a
    /// letter or a digit. Unique among accounts.
    Handle, 3..=30, handle, r"^\s*[A-Za-z0-9][A-Za-z0-9_.]{2,29}\s*$"
}

impl Handle {
    /// Words that no account may have as its handle, because they stand for something else in a
    /// path or would pass for the operator. It is a rule of registering and not of the value, so
    /// that a word added here does not make an older account unreadable.
    pub const RESERVED: &'static [&'static str] = &[
        "about",
        "admin",
        "administrator",
        "api",
        "everyone",
        "explore",
        "feed",
        "help",
        "moderator",
        "null",
        "official",
        "root",
        "search",
        "security",
        "settings",
        "staff",
        "support",
        "system",
        "touchline",
        "undefined",
        "you",
    ];

    /// Whether this handle is one of [`Handle::RESERVED`].
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        Self::RESERVED.contains(&self.as_str())
    }
}

text_value! {
    /// The public full name, one line.
    DisplayName, 1..=80, line, LINE
}

text_value! {
    /// A sport, in lower case, words joined by `-`: `football`, `table-tennis`.
    Sport, 1..=40, sport, r"^[\s_\p{L}\p{M}\p{N}-]*[\p{L}\p{N}][\s_\p{L}\p{M}\p{N}-]*$"
}

impl Sport {
    /// Whether this is cricket, whose players have a [`CricketRole`].
    #[must_use]
    pub fn is_cricket(&self) -> bool {
        self.0 == "cricket"
    }
}

text_value! {
    /// What a player plays, in their own word: `striker`, `goalkeeper`.
    PlayingRole, 1..=60, line, LINE
}

text_value! {
    /// Where an academy or a club is, in words.
    Address, 1..=120, line, LINE
}

text_value! {
    /// How to reach an academy or a club: a telephone number, an address, a person.
    Contact, 1..=200, line, LINE
}

text_value! {
    /// For whom a scout looks.
    Organization, 1..=120, line, LINE
}

number_value! {
    /// The year somebody was born in.
    BirthYear(u16), 1900..=2100
}

number_value! {
    /// For how many years somebody has done their work.
    ExperienceYears(u8), 0..=80
}

choice! {
    /// As told by the person.
    Gender, "male, female, other or undisclosed" {
        /// Male.
        Male = "male",
        /// Female.
        Female = "female",
        /// Neither of the two.
        Other = "other",
        /// Not told.
        Undisclosed = "undisclosed",
    }
}

choice! {
    /// What an account is in the community.
    Role, "player, fan, coach, academy, club or scout" {
        /// Plays.
        Player = "player",
        /// Follows players and clubs.
        Fan = "fan",
        /// Trains players.
        Coach = "coach",
        /// Is a school of players.
        Academy = "academy",
        /// Is a club or a team.
        Club = "club",
        /// Looks for players.
        Scout = "scout",
    }
}

impl Role {
    /// The status of a new account: players and fans may enter at once, the others wait until
    /// staff have approved them, because others trust what these roles claim to be.
    #[must_use]
    pub const fn first_status(self) -> AccountStatus {
        match self {
            Self::Player | Self::Fan => AccountStatus::Active,
            Self::Coach | Self::Academy | Self::Club | Self::Scout => {
                AccountStatus::PendingApproval
            }
        }
    }
}

choice! {
    /// What a cricketer plays.
    CricketRole, "batsman, bowler, all_rounder or wicket_keeper" {
        /// Bats.
        Batsman = "batsman",
        /// Bowls.
        Bowler = "bowler",
        /// Bats and bowls.
        AllRounder = "all_rounder",
        /// Keeps the wicket.
        WicketKeeper = "wicket_keeper",
    }
}

choice! {
    /// Whether an account may act.
    AccountStatus, "active or pending_approval" {
        /// It may.
        Active = "active",
        /// It waits until staff approve it.
        PendingApproval = "pending_approval",
    }
}

choice! {
    /// What staff may do. Nobody has one without an admin's word, and none includes another.
    Permission, "moderator, responder, auditor, auditor_personal, data_engineer or admin" {
        /// Decides on reports.
        Moderator = "moderator",
        /// Answers emergencies.
        Responder = "responder",
        /// Reads history, without what is personal.
        Auditor = "auditor",
        /// Also sees what is personal in it.
        AuditorPersonal = "auditor_personal",
        /// Rebuilds read models.
        DataEngineer = "data_engineer",
        /// Approves accounts and grants permissions.
        Admin = "admin",
    }
}

/// A role with the fields that it demands. In JSON one object, told apart by `role`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum RoleDetails {
    /// A player.
    Player {
        /// The year of birth.
        birth_year: BirthYear,
        /// What they play.
        playing_role: PlayingRole,
        /// What they play in cricket: present exactly when their sport is cricket.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cricket_role: Option<CricketRole>,
    },
    /// A fan.
    Fan,
    /// A coach.
    Coach {
        /// Years as a coach.
        experience_years: ExperienceYears,
    },
    /// An academy.
    Academy {
        /// Where it is.
        location: Address,
        /// How to reach it.
        contact: Contact,
    },
    /// A club.
    Club {
        /// Where it is.
        location: Address,
        /// How to reach it.
        contact: Contact,
    },
    /// A scout.
    Scout {
        /// For whom.
        organization: Organization,
        /// Years as a scout.
        experience_years: ExperienceYears,
    },
}

impl RoleDetails {
    /// The role without its fields.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::Player { .. } => Role::Player,
            Self::Fan => Role::Fan,
            Self::Coach { .. } => Role::Coach,
            Self::Academy { .. } => Role::Academy,
            Self::Club { .. } => Role::Club,
            Self::Scout { .. } => Role::Scout,
        }
    }
}

/// What [`email`] takes. A label of the domain neither begins nor ends with a hyphen.
const EMAIL: &str = r#"^\s*[^\s\x00-\x1F\x7F-\x9F"(),:;<>@\[\\\]]{1,64}@[\p{L}\p{N}]([\p{L}\p{M}\p{N}-]*[\p{L}\p{M}\p{N}])?(\.[\p{L}\p{N}]([\p{L}\p{M}\p{N}-]*[\p{L}\p{M}\p{N}])?)+\s*$"#;

/// The form is checked, not whether mail arrives: one `@`, no blanks, a domain of two labels or
/// more. Whether somebody reads it is for verification to find out.
fn email(text: &str, limits: Limits) -> Result<String, ValueError> {
    const MALFORMED: ValueError = ValueError::Malformed {
        expected: "an e-mail address, such as ana@example.org",
    };
    let text = limits.check(trim(text).to_owned())?;
    let (local, domain) = text.split_once('@').ok_or(MALFORMED)?;
    let local_ok = !local.is_empty()
        && local.chars().count() <= Email::LOCAL_MAX_CHARS
        && !local.chars().any(|c| is_space(c) || c.is_control())
        && !local.contains(['"', '(', ')', ',', ':', ';', '<', '>', '[', ']', '\\']);
    let label_ok = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c == '-' || c != '_' && is_of_word(c))
    };
    if local_ok && domain.contains('.') && domain.split('.').all(label_ok) {
        Ok(text)
    } else {
        Err(MALFORMED)
    }
}

fn handle(text: &str, limits: Limits) -> Result<String, ValueError> {
    let text = trim(text).to_ascii_lowercase();
    let allowed = text
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.'));
    if !allowed || text.starts_with(['_', '.']) {
        return Err(ValueError::Malformed {
            expected: "made of letters a-z, digits, _ and ., beginning with a letter or a digit",
        });
    }
    limits.check(text)
}

fn sport(text: &str, limits: Limits) -> Result<String, ValueError> {
    let words: Vec<String> = text
        .split(|c: char| is_space(c) || matches!(c, '-' | '_'))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let text = words.join("-");
    if !text.chars().all(|c| c == '-' || is_of_word(c)) {
        return Err(ValueError::Malformed {
            expected: "words of letters and digits",
        });
    }
    limits.check(text)
}

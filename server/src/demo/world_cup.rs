//! The facts: every match of the football World Cup 2022 in the order of play.

use anyhow::Context as _;
use chrono::{NaiveDate, TimeDelta};
use serde::Deserialize;
use touchline_domain::clock::Timestamp;

/// One line a match: stage, date, teams, goals after extra time if there was any, penalties if any.
const MATCHES: &str = include_str!("world_cup_2022.json");

/// A fan, and the teams of their heart.
pub(super) struct Fan {
    pub(super) handle: &'static str,
    pub(super) name: &'static str,
    pub(super) teams: &'static [&'static str],
}

/// The fans. No real person is meant.
pub(super) const FANS: [Fan; 12] = [
    Fan {
        handle: "ana",
        name: "Ana",
        teams: &["Argentina", "Croatia", "Morocco"],
    },
    Fan {
        handle: "luis",
        name: "Luis",
        teams: &["Argentina", "Uruguay"],
    },
    Fan {
        handle: "chloe",
        name: "Chloé",
        teams: &["France", "Senegal"],
    },
    Fan {
        handle: "youssef",
        name: "Youssef",
        teams: &["Morocco", "Tunisia", "France"],
    },
    Fan {
        handle: "marko",
        name: "Marko",
        teams: &["Croatia", "Serbia"],
    },
    Fan {
        handle: "daan",
        name: "Daan",
        teams: &["Netherlands", "Belgium"],
    },
    Fan {
        handle: "emily",
        name: "Emily",
        teams: &["England", "Wales", "USA"],
    },
    Fan {
        handle: "joao",
        name: "João",
        teams: &["Brazil", "Portugal"],
    },
    Fan {
        handle: "haruka",
        name: "Haruka",
        teams: &["Japan", "South Korea", "Germany"],
    },
    Fan {
        handle: "kwame",
        name: "Kwame",
        teams: &["Ghana", "Cameroon", "Senegal"],
    },
    Fan {
        handle: "sofia",
        name: "Sofía",
        teams: &["Spain", "Mexico", "Costa Rica", "Ecuador"],
    },
    Fan {
        handle: "noor",
        name: "Noor",
        teams: &["Qatar", "Saudi Arabia", "Iran", "Australia"],
    },
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    stage: String,
    date: NaiveDate,
    home: String,
    away: String,
    score: (u8, u8),
    #[serde(default)]
    extra_time: bool,
    penalties: Option<(u8, u8)>,
}

/// A match that was played.
#[derive(Debug)]
pub(super) struct Match {
    stage: String,
    /// The day of the match; the hour only keeps matches of one day in order.
    pub(super) at: Timestamp,
    pub(super) home: String,
    pub(super) away: String,
    score: (u8, u8),
    extra_time: bool,
    penalties: Option<(u8, u8)>,
}

impl Match {
    /// For instance `Final: Argentina 3–3 France, 4–2 on penalties`.
    pub(super) fn caption(&self) -> String {
        let (home, away) = self.score;
        let end = match self.penalties {
            Some((home, away)) => format!(", {home}–{away} on penalties"),
            None if self.extra_time => " after extra time".to_owned(),
            None => String::new(),
        };
        format!(
            "{}: {} {home}–{away} {}{end}",
            self.stage, self.home, self.away
        )
    }

    /// The stage as a tag: `group_a`, `quarter_final`, `final`.
    pub(super) fn tag(&self) -> String {
        self.stage.to_lowercase().replace([' ', '-'], "_")
    }
}

/// Every match, in the order of play.
pub(super) fn matches() -> anyhow::Result<Vec<Match>> {
    let lines: Vec<Line> =
        serde_json::from_str(MATCHES).context("the facts of the demo are damaged")?;
    let mut matches: Vec<Match> = Vec::with_capacity(lines.len());
    for line in lines {
        let noon = line
            .date
            .and_hms_opt(12, 0, 0)
            .context("a date of the demo has no noon")?
            .and_utc();
        let at = match matches.last() {
            Some(before) if before.at.date_naive() == line.date => before.at + TimeDelta::hours(1),
            _ => noon,
        };
        matches.push(Match {
            stage: line.stage,
            at,
            home: line.home,
            away: line.away,
            score: line.score,
            extra_time: line.extra_time,
            penalties: line.penalties,
        });
    }
    Ok(matches)
}

/// Every team, in order of the alphabet.
pub(super) fn teams(matches: &[Match]) -> Vec<&str> {
    let mut teams: Vec<_> = matches
        .iter()
        .flat_map(|played| [played.home.as_str(), played.away.as_str()])
        .collect();
    teams.sort_unstable();
    teams.dedup();
    teams
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_are_whole() {
        let matches = matches().unwrap();
        assert_eq!(matches.len(), 64);
        assert_eq!(teams(&matches).len(), 32);
        assert!(matches.is_sorted_by_key(|played| played.at));
        let last = matches.last().unwrap();
        assert_eq!(
            last.caption(),
            "Final: Argentina 3–3 France, 4–2 on penalties"
        );
        assert_eq!(last.at.to_rfc3339(), "2022-12-18T12:00:00+00:00");
        // The tournament had 172 goals, as FIFA counted them.
        let goals: u32 = matches
            .iter()
            .map(|played| u32::from(played.score.0) + u32::from(played.score.1))
            .sum();
        assert_eq!(goals, 172);
        assert_eq!(
            matches
                .iter()
                .filter(|played| played.penalties.is_some())
                .count(),
            5
        );
        for fan in FANS {
            for team in fan.teams {
                assert!(teams(&matches).contains(team), "{team}");
            }
        }
    }
}

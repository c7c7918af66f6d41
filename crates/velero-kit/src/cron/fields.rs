//! The five fields: minute, hour, day of the month, month, day of the week.

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp};

use super::{WrongSchedule, wrong};

/// Velero's parser gives up after so many years.
const YEARS: i64 = 5;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// The longest that each month can be.
const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// What a field may hold.
struct Bounds {
    name: &'static str,
    least: u32,
    most: u32,
    /// Names of the values, the first one of `least`.
    names: &'static [&'static str],
}

const MINUTE: Bounds = bounds("minute", 0, 59, &[]);
const HOUR: Bounds = bounds("hour", 0, 23, &[]);
const DAY: Bounds = bounds("day of the month", 1, 31, &[]);
const MONTH: Bounds = bounds("month", 1, 12, &MONTHS);
const WEEKDAY: Bounds = bounds("day of the week", 0, 6, &WEEKDAYS);

const fn bounds(
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
) -> Bounds {
    Bounds {
        name,
        least,
        most,
        names,
    }
}

/// The values of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// It was written as `*` or `?`: then it does not count as a restriction of days.
    star: bool,
}

impl Field {
    fn has(self, value: u32) -> bool {
        value < 64 && self.bits & (1 << value) != 0
    }

    fn values(self) -> impl Iterator<Item = u32> {
        (0..60).filter(move |value| self.has(*value))
    }
}

/// The five fields of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Fields {
    /// Five fields, or one of the words that stand for them.
    pub(super) fn parse(text: &str) -> Result<Self, WrongSchedule> {
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            word if word.starts_with('@') => {
                return Err(wrong(format!(
                    "{word:?} is none of @hourly, @daily, @weekly, @monthly, @yearly and '@every 6h'"
                )));
            }
            fields => fields,
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(wrong(format!(
                "{text:?} has {} fields: write five, minute hour day month weekday",
                fields.len()
            )));
        };
        Ok(Self {
            minute: field(minute, &MINUTE)?,
            hour: field(hour, &HOUR)?,
            day: field(day, &DAY)?,
            month: field(month, &MONTH)?,
            weekday: field(weekday, &WEEKDAY)?,
        })
    }

    /// Whether there is any date that matches.
    pub(super) fn ever_matches(&self) -> bool {
        // Restricted by both, a day needs to match only one of them.
        if self.day.star || !self.weekday.star {
            return true;
        }
        let first = self.day.bits.trailing_zeros();
        (1..)
            .zip(LENGTHS)
            .any(|(month, length)| self.month.has(month) && first <= length)
    }

    /// The first time after `after` that the clock of a zone shows a match.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let today = zone.to_datetime(after).date();
        // Where a clock is set back over midnight, yesterday comes again.
        let mut date = today.yesterday().ok()?;
        let last = today.checked_add(Span::new().years(YEARS)).ok()?;
        while date <= last {
            if self.matches(date)
                && let Some(found) = self.first_of(date, after, zone)
            {
                return Some(found);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn matches(&self, date: Date) -> bool {
        let value = |part: i8| u32::try_from(part).unwrap_or_default();
        let day = self.day.has(value(date.day()));
        let weekday = self
            .weekday
            .has(value(date.weekday().to_sunday_zero_offset()));
        let days = if self.day.star || self.weekday.star {
            day && weekday
        } else {
            day || weekday
        };
        days && self.month.has(value(date.month()))
    }

    /// The first match after `after` on a date. A time that the clock skips has none, one that it
    /// shows twice has two.
    fn first_of(&self, date: Date, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let part = |value: u32| i8::try_from(value).unwrap_or_default();
        let times = self.hour.values().flat_map(|hour| {
            self.minute
                .values()
                .map(move |minute| Time::constant(part(hour), part(minute), 0, 0))
        });
        let instants = times.flat_map(|time| {
            let shown = date.to_datetime(time);
            let offsets = match zone.to_ambiguous_zoned(shown).offset() {
                AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
                AmbiguousOffset::Gap { .. } => [None, None],
                AmbiguousOffset::Fold { before, after } => [Some(before), Some(after)],
            };
            let instant = move |offset: jiff::tz::Offset| offset.to_timestamp(shown).ok();
            offsets.into_iter().flatten().filter_map(instant)
        });
        instants.filter(|instant| *instant > after).min()
    }
}

/// A list of ranges.
fn field(text: &str, bounds: &Bounds) -> Result<Field, WrongSchedule> {
    let mut whole = Field {
        bits: 0,
        star: false,
    };
    // As Velero's parser, which also passes over empty items.
    for item in text.split(',').filter(|item| !item.is_empty()) {
        let range = range(item, bounds)?;
        whole.bits |= range.bits;
        whole.star |= range.star;
    }
    if whole.bits == 0 {
        return Err(wrong(format!("{}: {text:?} is empty", bounds.name)));
    }
    Ok(whole)
}

/// `*`, a value, a range, each with or without a step.
fn range(text: &str, bounds: &Bounds) -> Result<Field, WrongSchedule> {
    let refused = |why: &str| wrong(format!("{} {text:?} {why}", bounds.name));
    let (span, step) = match text.split('/').collect::<Vec<_>>().as_slice() {
        [span] => (*span, None),
        [span, step] => (*span, Some(number(step, bounds)?)),
        _ => return Err(refused("has more than one '/'")),
    };
    let ends: Vec<&str> = span.split('-').collect();
    let star = matches!(ends.first(), Some(&("*" | "?")));
    let (first, last) = match ends.as_slice() {
        _ if star => (bounds.least, bounds.most),
        [one] => {
            let one = value(one, bounds)?;
            // With a step, from there to the end.
            (one, if step.is_some() { bounds.most } else { one })
        }
        [first, last] => (value(first, bounds)?, value(last, bounds)?),
        _ => return Err(refused("has more than one '-'")),
    };
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(refused("has a step of 0"));
    }
    if first < bounds.least || last > bounds.most {
        return Err(refused(&format!(
            "is not between {} and {}",
            bounds.least, bounds.most
        )));
    }
    if first > last {
        return Err(refused("ends before it begins"));
    }
    let bits = (first..=last)
        .step_by(usize::try_from(step).unwrap_or(usize::MAX))
        .fold(0, |bits, value| bits | 1 << value);
    Ok(Field {
        bits,
        star: star && step == 1,
    })
}

/// A name or a number.
fn value(text: &str, bounds: &Bounds) -> Result<u32, WrongSchedule> {
    let lower = text.to_ascii_lowercase();
    let named = (bounds.least..).zip(bounds.names);
    match named.into_iter().find(|(_, name)| **name == lower) {
        Some((value, _)) => Ok(value),
        None => number(text, bounds),
    }
}

fn number(text: &str, bounds: &Bounds) -> Result<u32, WrongSchedule> {
    text.parse()
        .map_err(|_| wrong(format!("{}: {text:?} is no number", bounds.name)))
}

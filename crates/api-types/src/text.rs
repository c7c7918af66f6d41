//! Text that users write, kept as they wrote it and parsed only where it is used.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use jiff::Timestamp;
use kube::core::{Rule, validate};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::rules::{self, CelRule};

/// Names of namespaces or resources. `null` in a manifest reads as none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Names(pub Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        null_as_default(deserializer).map(Self)
    }
}

impl Deref for Names {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl Names {
    /// Whether there are none. Serde needs a path to call.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<S: Into<String>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

impl JsonSchema for Names {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Names".into()
    }

    // 500 is what the overlap rules (C17, C20) can afford: with 1000 an object fails at run time.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "items": { "type": "string", "maxLength": 253 },
            "maxItems": 500,
            "nullable": true,
            "x-kubernetes-list-type": "atomic",
        })
    }
}

/// A duration as Go writes it, such as `720h` or `1h30m`. The text is passed on unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(pub String);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration: write numbers with the units h, m, s, such as 720h or 90m")]
pub struct DurationError {
    text: String,
}

impl Duration {
    /// The time that the text means.
    pub fn parse(&self) -> Result<std::time::Duration, DurationError> {
        parse_duration(&self.0).ok_or_else(|| DurationError {
            text: self.0.clone(),
        })
    }
}

impl From<&str> for Duration {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        ruled(
            json_schema!({ "type": "string", "maxLength": 64 }),
            rules::C9,
        )
    }
}

fn parse_duration(text: &str) -> Option<std::time::Duration> {
    if text == "0" {
        return Some(std::time::Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_length = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        nanos = nanos.checked_add(in_nanos(whole, fraction, unit)?)?;
        rest = after;
    }
    // Go's durations are 63 bits of nanoseconds; Velero could not read a longer one.
    let nanos = i64::try_from(nanos).ok()?;
    (!text.is_empty()).then(|| std::time::Duration::from_nanos(nanos.unsigned_abs()))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

fn in_nanos(whole: &str, fraction: &str, unit: &str) -> Option<u128> {
    let unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let number = |digits: &str| {
        if digits.is_empty() {
            Some(0)
        } else {
            digits.parse::<u128>().ok()
        }
    };
    // More than 15 digits behind the point are below a nanosecond in every unit.
    let fraction = fraction.get(..15).unwrap_or(fraction);
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = number(fraction)?.checked_mul(unit)? / scale;
    number(whole)?.checked_mul(unit)?.checked_add(part)
}

/// A point in time that a user writes. The server accepts years that typed time cannot hold, so it
/// stays text until it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserTime(pub String);

impl UserTime {
    /// The time that the text means.
    pub fn parse(&self) -> Result<Timestamp, jiff::Error> {
        Timestamp::from_str(&self.0)
    }
}

impl JsonSchema for UserTime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "UserTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time", "maxLength": 64 })
    }
}

/// Any JSON, kept as it is.
pub(crate) fn any_json(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// Reads `null` as nothing: stored objects may hold it where the schema says nullable.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads `null` as no list, and leaves out the items that are `null`.
pub(crate) fn null_items_dropped<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let items: Option<Vec<Option<T>>> = Option::deserialize(deserializer)?;
    Ok(items.unwrap_or_default().into_iter().flatten().collect())
}

/// The schema with a rule. A rule is plain strings, so writing it as JSON cannot fail.
fn ruled(mut schema: Schema, rule: CelRule) -> Schema {
    let attached = validate(&mut schema, Rule::from(rule));
    debug_assert!(attached.is_ok(), "a rule is plain strings");
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<f64> {
        Duration::from(text).parse().ok().map(|d| d.as_secs_f64())
    }

    #[test]
    fn durations_mean_what_go_means() {
        let close = |text: &str, expected: f64| {
            let got = seconds(text).unwrap_or_else(|| panic!("{text} did not parse"));
            assert!((got - expected).abs() < 1e-9, "{text}: {got}");
        };
        close("0", 0.0);
        close("720h", 2_592_000.0);
        close("1h30m", 5_400.0);
        close("720h0m0s", 2_592_000.0);
        close("1.5h", 5_400.0);
        close("1ms500us", 0.0015);
        close("250ns", 250e-9);
        close("0.1s", 0.1);
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_text_and_the_way_out() {
        for text in [
            "",
            "10d",
            "h",
            "5",
            "-1h",
            "1h 30m",
            ".s",
            "1.2.3h",
            "99999999999h",
            "1H",
        ] {
            let error = Duration::from(text).parse().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn null_names_are_no_names() {
        let names: Names = serde_json::from_str("null").unwrap();
        assert!(names.is_empty());
        let names: Names = serde_json::from_str(r#"["shop"]"#).unwrap();
        assert_eq!(names, Names::from_iter(["shop"]));
    }

    #[test]
    fn a_year_beyond_typed_time_is_kept_as_text_and_refused_when_parsed() {
        let time: UserTime = serde_json::from_str(r#""9999-12-31T23:59:59Z""#).unwrap();
        assert!(time.parse().is_err());
        assert!(UserTime("2026-11-23T12:00:00Z".to_owned()).parse().is_ok());
    }
}

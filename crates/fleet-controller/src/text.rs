//! Texts of messages: lists of names, lengths, times.

use controller_kit::condition::MESSAGE_BYTES;
use controller_kit::text::truncate;
use jiff::Timestamp;

/// How many names a message lists.
const NAMES: usize = 3;

/// Cuts a text so that it fits into a message.
pub fn cut(text: &str) -> String {
    truncate(text, MESSAGE_BYTES)
}

/// The first few of many, and how many more there are.
pub fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let shown: Vec<String> = items.iter().take(NAMES).map(ToString::to_string).collect();
    let shown = shown.join(", ");
    match items.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A time as Kubernetes stores it. What is compared with a stored status must be rounded like it.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_ends_with_how_many_more() {
        assert_eq!(list(&["a", "b"]), "a, b");
        assert_eq!(list(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
        assert_eq!(list::<&str>(&[]), "");
    }

    #[test]
    fn a_time_has_no_fraction_once_it_is_stored() {
        let time: Timestamp = "2026-02-03T04:05:06.789Z".parse().unwrap();
        assert_eq!(whole_seconds(time).to_string(), "2026-02-03T04:05:06Z");
    }
}

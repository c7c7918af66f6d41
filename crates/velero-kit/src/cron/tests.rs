use proptest::prelude::*;

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next runs after a time.
fn runs(schedule: &str, after: &str, count: usize) -> Vec<String> {
    let when = When::parse(schedule).unwrap();
    let mut at = time(after);
    (0..count)
        .map(|_| {
            at = when.next(at).unwrap();
            at.to_string()
        })
        .collect()
}

#[test]
fn velero_is_told_the_time_zone_unless_the_text_has_one_or_needs_none() {
    let table = [
        ("0 3 * * *", None, "CRON_TZ=UTC 0 3 * * *"),
        (
            "0 3 * * *",
            Some("Europe/Berlin"),
            "CRON_TZ=Europe/Berlin 0 3 * * *",
        ),
        ("@daily", Some("Asia/Tokyo"), "CRON_TZ=Asia/Tokyo @daily"),
        ("@every 6h", None, "@every 6h"),
        ("@every 6h", Some("Asia/Tokyo"), "@every 6h"),
        ("TZ=Asia/Tokyo 0 3 * * *", None, "TZ=Asia/Tokyo 0 3 * * *"),
        ("CRON_TZ=UTC @daily", None, "CRON_TZ=UTC @daily"),
    ];
    for (schedule, zone, expected) in table {
        assert_eq!(velero_text(schedule, zone), expected);
        When::parse(expected).unwrap();
    }
}

#[test]
fn each_form_runs_when_velero_s_parser_says() {
    let table = [
        (
            "*/5 * * * *",
            "2026-11-23T07:03:00Z",
            "2026-11-23T07:05:00Z",
        ),
        (
            "*/5 * * * *",
            "2026-11-23T07:05:00Z",
            "2026-11-23T07:10:00Z",
        ),
        ("30 2 * * *", "2026-11-23T02:30:01Z", "2026-11-24T02:30:00Z"),
        ("@hourly", "2026-11-23T07:59:59.5Z", "2026-11-23T08:00:00Z"),
        ("@midnight", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("@weekly", "2026-11-23T07:00:00Z", "2026-11-29T00:00:00Z"),
        ("@monthly", "2026-11-23T07:00:00Z", "2026-12-01T00:00:00Z"),
        ("@annually", "2026-11-23T07:00:00Z", "2027-01-01T00:00:00Z"),
        // Either kind of day, when both are restricted; both, when one is not.
        (
            "0 0 13 * FRI",
            "2026-11-23T00:00:00Z",
            "2026-11-27T00:00:00Z",
        ),
        ("0 0 1 * *", "2026-11-23T00:00:00Z", "2026-12-01T00:00:00Z"),
        (
            "0 0 * * 1-5",
            "2026-11-27T12:00:00Z",
            "2026-11-30T00:00:00Z",
        ),
        // A step does restrict, a step of one does not.
        (
            "0 0 */31 * MON",
            "2026-11-23T00:00:00Z",
            "2026-11-30T00:00:00Z",
        ),
        (
            "0 0 */1 * MON",
            "2026-11-23T00:00:00Z",
            "2026-11-30T00:00:00Z",
        ),
        ("0 0 ? 2 *", "2026-11-23T00:00:00Z", "2027-02-01T00:00:00Z"),
        (
            "0 0 29 feb *",
            "2026-11-23T00:00:00Z",
            "2028-02-29T00:00:00Z",
        ),
        (
            "50/5 1,,3 * * *",
            "2026-11-23T01:55:00Z",
            "2026-11-23T03:50:00Z",
        ),
        (
            "10-20/5 0 * Jan-MAR *",
            "2026-11-23T00:00:00Z",
            "2027-01-01T00:10:00Z",
        ),
        (
            "@every 6h",
            "2026-11-23T07:03:04.9Z",
            "2026-11-23T13:03:04Z",
        ),
        (
            "@every 1h30m5.9s",
            "2026-11-23T00:00:00Z",
            "2026-11-23T01:30:05Z",
        ),
        (
            "@every 10ms",
            "2026-11-23T00:00:00Z",
            "2026-11-23T00:00:01Z",
        ),
    ];
    for (schedule, after, expected) in table {
        assert_eq!(
            runs(schedule, after, 1),
            [expected],
            "{schedule} after {after}"
        );
    }
}

#[test]
fn a_schedule_goes_by_the_clock_of_its_zone() {
    assert_eq!(
        runs("CRON_TZ=Asia/Tokyo 30 2 * * *", "2026-11-23T00:00:00Z", 2),
        ["2026-11-23T17:30:00Z", "2026-11-24T17:30:00Z"]
    );
    assert_eq!(
        runs("TZ=Asia/Kathmandu @daily", "2026-11-23T00:00:00Z", 1),
        ["2026-11-23T18:15:00Z"]
    );
}

#[test]
fn a_time_that_the_clock_skips_is_left_out_and_one_that_it_repeats_comes_twice() {
    assert_eq!(
        runs(
            "CRON_TZ=Europe/Berlin 30 2 * * *",
            "2026-03-28T12:00:00Z",
            1
        ),
        ["2026-03-30T00:30:00Z"],
        "on the 29th, 02:30 is skipped"
    );
    assert_eq!(
        runs(
            "CRON_TZ=Europe/Berlin 30 2 * * *",
            "2026-10-24T12:00:00Z",
            3
        ),
        [
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-26T01:30:00Z"
        ]
    );
    // Havana sets its clock back from 01:00 to 00:00.
    assert_eq!(
        runs(
            "CRON_TZ=America/Havana 30 0 * * *",
            "2024-11-02T12:00:00Z",
            3
        ),
        [
            "2024-11-03T04:30:00Z",
            "2024-11-03T05:30:00Z",
            "2024-11-04T05:30:00Z"
        ]
    );
}

#[test]
fn what_velero_would_refuse_is_refused_with_the_part_that_is_wrong() {
    let table = [
        ("", "has 0 fields"),
        ("0 3 * *", "has 4 fields"),
        ("0 0 3 * * *", "has 6 fields"),
        ("61 * * * *", "minute \"61\" is not between 0 and 59"),
        ("* 24 * * *", "hour \"24\" is not between 0 and 23"),
        (
            "* * 0 * *",
            "day of the month \"0\" is not between 1 and 31",
        ),
        ("* * * 13 *", "month \"13\" is not between 1 and 12"),
        ("* * * * 7", "day of the week \"7\" is not between 0 and 6"),
        ("20-10 * * * *", "ends before it begins"),
        ("*/0 * * * *", "a step of 0"),
        ("1/2/3 * * * *", "more than one '/'"),
        ("1-2-3 * * * *", "more than one '-'"),
        ("* * L * *", "\"L\" is no number"),
        ("* * 15W * *", "\"15W\" is no number"),
        ("* * * * MON#2", "\"MON#2\" is no number"),
        ("* * * monday *", "\"monday\" is no number"),
        (", * * * *", "is empty"),
        ("@reboot", "is none of"),
        ("@Daily", "is none of"),
        ("@every", "is none of"),
        ("@every 1d", "is no duration"),
        ("@every six hours", "is no duration"),
        ("CRON_TZ=UTC", "nothing follows"),
        (
            "CRON_TZ=Mars/Olympus 0 3 * * *",
            "no time zone \"Mars/Olympus\"",
        ),
        ("CRON_TZ=europe/berlin 0 3 * * *", "no time zone"),
        ("TZ=Local 0 3 * * *", "no time zone"),
    ];
    for (schedule, expected) in table {
        let error = When::parse(schedule).unwrap_err().to_string();
        assert!(error.contains(expected), "{schedule:?}: {error}");
    }
}

#[test]
fn a_date_that_never_comes_is_refused_since_velero_would_run_it_all_the_time() {
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 FEB ?"] {
        let error = When::parse(never).unwrap_err().to_string();
        assert!(error.contains("no date"), "{never}: {error}");
    }
    for sometimes in ["0 0 31 2,3 *", "0 0 30 2 MON", "0 0 29 2 *"] {
        When::parse(sometimes).unwrap();
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(CRON_TZ=|TZ=|@every |@)?[-*/?,0-9a-zA-Z @.=]{0,30}") {
        if let Ok(when) = When::parse(&text) {
            when.next(time("2026-11-23T00:00:00Z"));
        }
    }

    #[test]
    fn the_next_run_is_later_and_a_whole_minute_that_matches(
        minute in 0u32..60,
        hour in 0u32..24,
        second in 0i64..4_000_000_000,
    ) {
        let after = Timestamp::from_second(second).unwrap();
        let when = When::parse(&format!("CRON_TZ=Europe/London {minute} {hour} * * *")).unwrap();
        let next = when.next(after).unwrap();
        prop_assert!(next > after);
        prop_assert_eq!(next.as_second() % 60, 0);
        // A clock change may skip one.
        prop_assert!(next.duration_since(after) <= SignedDuration::from_hours(49));
    }
}

use std::io::Write;

use api_types::labels;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{MEMBER_UID, key};

pub(super) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn lines(results: &Value) -> Result<Vec<String>, Unreadable> {
    error_lines(&gzip(format!("{results}\n").as_bytes()))
}

#[test]
fn the_first_errors_are_read_in_the_order_of_velero_s_own_description() {
    let results = json!({
        "errors": {
            "namespaces": { "shop": ["of shop 1", "of shop 2"], "shop-db": ["of shop-db"] },
            "cluster": ["of the cluster"],
            "velero": ["of velero"],
        },
        "warnings": { "namespaces": { "shop": ["a warning"] } },
        "later": [1, { "a": null }],
    });
    assert_eq!(
        lines(&results).unwrap(),
        ["of velero", "of the cluster", "of shop 1"]
    );
}

#[test]
fn many_errors_of_many_namespaces_leave_the_first_three() {
    let many: Vec<String> = (0..5000).map(|n| format!("error {n}")).collect();
    let namespaces: serde_json::Map<String, Value> =
        (0..50).map(|n| (format!("n{n:02}"), json!(many))).collect();
    let results = json!({ "errors": { "namespaces": namespaces } });
    assert_eq!(lines(&results).unwrap(), ["error 0", "error 1", "error 2"]);
    let one_each = json!({ "errors": { "namespaces": { "a": ["1"], "b": null, "c": ["2"] } } });
    assert_eq!(lines(&one_each).unwrap(), ["1", "2"]);
}

#[test]
fn results_without_errors_have_no_line() {
    let table = [
        json!({}),
        json!({ "errors": null, "warnings": null }),
        json!({ "errors": {} }),
        json!({ "errors": { "velero": null, "cluster": [], "namespaces": {} } }),
        json!({ "errors": { "velero": ["", " \n"] } }),
    ];
    for results in table {
        assert!(lines(&results).unwrap().is_empty(), "{results}");
    }
}

#[test]
fn a_line_is_one_short_printable_line() {
    let text = format!(
        "error\n  restoring\t\u{1b}[31mpods/shop{}",
        "å".repeat(1000)
    );
    let results = json!({ "errors": { "cluster": [text] } });
    let line = lines(&results).unwrap().remove(0);
    assert!(
        line.starts_with("error restoring [31mpods/shopååå"),
        "{line}"
    );
    assert!(line.len() <= LINE_BYTES && line.len() > LINE_BYTES - 2);
}

#[test]
fn what_velero_does_not_write_is_refused() {
    let table = [
        gzip(b""),
        gzip(b"<html>no such key</html>"),
        gzip(br#"{"errors":{"velero":[5]}}"#),
        gzip(br#"{"errors":{"velero":"text"}}"#),
        gzip(br#"{"errors":{}} {"errors":{}}"#),
        gzip("[".repeat(100_000).as_bytes()),
        br#"{"errors":{"velero":["not gzipped"]}}"#.to_vec(),
        Vec::new(),
    ];
    for file in table {
        let refused = error_lines(&file);
        assert!(
            matches!(refused, Err(Unreadable::Malformed(_))),
            "{refused:?}"
        );
    }
    let mut cut = gzip(br#"{"errors":{"velero":["a"]}}"#);
    let checksum = cut.len() - 8;
    cut[checksum] ^= 1;
    assert!(error_lines(&cut).is_err(), "a wrong checksum");
    cut.truncate(checksum);
    assert!(error_lines(&cut).is_err(), "no checksum");
}

#[test]
fn what_inflates_without_end_is_refused() {
    let limit = usize::try_from(MAX_INFLATED).unwrap();
    let padded = |head: &[u8], pad: u8, tail: &[u8]| {
        let pad = vec![pad; limit + 1 - head.len() - tail.len()];
        [head, &pad, tail].concat()
    };
    let one_line = padded(br#"{"errors":{"velero":[""#, b'a', br#""]}}"#);
    let mut spaces = padded(br#"{"errors":{"velero":["a"]}}"#, b' ', b"");
    for bomb in [&one_line, &spaces] {
        let file = gzip(bomb);
        assert!(file.len() < MAX_COMPRESSED, "{}", file.len());
        let refused = error_lines(&file);
        assert!(matches!(refused, Err(Unreadable::TooLarge)), "{refused:?}");
    }
    spaces.pop();
    assert_eq!(error_lines(&gzip(&spaces)).unwrap(), ["a"]);
}

#[test]
fn the_request_names_the_restore_and_says_whose_it_is() {
    let owner = Owner {
        kind: "Restore",
        name_label: labels::RESTORE_NAME,
        namespace: "team-a".to_owned(),
        name: "shop-again".to_owned(),
        uid: "0c9d5f3e-51a7-4f0c-8a39-1d2e3f4a5b6c".to_owned(),
        fleet: "production".to_owned(),
    };
    let oslo = key("oslo");
    let member = MemberId::from_uid(MEMBER_UID);
    let request = request(&owner, "kurator-x", "oslo-restore-x", (&oslo, &member));
    assert!(owner.owns(&request.metadata, &member));
    let object = json!(request);
    assert_eq!(object["kind"], "DownloadRequest");
    assert_eq!(object["metadata"]["name"], "kurator-x");
    assert_eq!(object["metadata"]["namespace"], "velero");
    assert_eq!(
        object["spec"],
        json!({ "target": { "kind": "RestoreResults", "name": "oslo-restore-x" } })
    );
}

proptest! {
    #[test]
    fn no_file_makes_more_than_three_short_lines(
        errors in proptest::collection::vec("\\PC{0,400}", 0..8),
        noise in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let results = json!({ "errors": { "cluster": errors } });
        let found = lines(&results).unwrap();
        prop_assert!(found.len() <= LINES);
        prop_assert!(found.iter().all(|line| line.len() <= LINE_BYTES && !line.is_empty()));
        // Whatever is sent, an answer comes back.
        error_lines(&noise).ok();
        error_lines(&gzip(&noise)).ok();
    }
}

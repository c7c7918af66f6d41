//! What went wrong with single objects of a restore: Velero's results, a file in the object storage.
//! It lies where a member wrote it, so nothing in it is trusted.

use std::fmt;
use std::io::{BufReader, Read};

use api_types::external::velero::{DownloadRequest, DownloadRequestSpec, DownloadTarget};
use api_types::key::ClusterKey;
use api_types::names::MemberId;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::identity::Owner;

mod fetch;
mod origin;
pub mod read;

pub use origin::{NotAllowed, Origins};

/// No more of the file than this is fetched, in bytes.
pub const MAX_COMPRESSED: usize = 4 << 20;
/// No more of it than this is inflated, in bytes.
pub const MAX_INFLATED: u64 = 32 << 20;

/// So many lines are kept: more do not fit into a message.
const LINES: usize = 3;
/// So much is kept of a line, in bytes: what the message of an entry holds.
const LINE_BYTES: usize = 256;

/// Why there is nothing to tell from a file.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It inflates to more than [`MAX_INFLATED`].
    #[error("the results are larger than {MAX_INFLATED} bytes")]
    TooLarge,
    /// It is not what Velero writes.
    #[error("the results are not gzipped JSON as Velero writes it")]
    Malformed(#[source] serde_json::Error),
}

/// Asks Velero for a link to the results of the Velero Restore `restore`.
pub fn request(
    owner: &Owner,
    name: &str,
    restore: &str,
    (cluster, member): (&ClusterKey, &MemberId),
) -> DownloadRequest {
    let target = DownloadTarget {
        kind: "RestoreResults".to_owned(),
        name: restore.to_owned(),
    };
    DownloadRequest {
        metadata: owner.metadata(name, cluster, member),
        ..DownloadRequest::new(name, DownloadRequestSpec { target })
    }
}

/// The first error lines of a results file, in the order of `velero restore describe`: Velero's own,
/// those of objects outside of namespaces, those of each namespace. The file is read as it inflates,
/// and only these lines are kept.
pub fn error_lines(compressed: &[u8]) -> Result<Vec<String>, Unreadable> {
    let mut inflated = GzDecoder::new(compressed).take(MAX_INFLATED + 1);
    let results = read(BufReader::new(&mut inflated));
    if inflated.limit() == 0 {
        return Err(Unreadable::TooLarge);
    }
    Ok(results.map_err(Unreadable::Malformed)?.lines())
}

fn read(file: impl Read) -> Result<Results, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_reader(file);
    let results = Results::deserialize(&mut json)?;
    // To the end, where the checksum is.
    json.end()?;
    Ok(results)
}

/// The file; what it says of warnings is not needed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Results {
    errors: Option<Errors>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Errors {
    velero: Option<Lines>,
    cluster: Option<Lines>,
    namespaces: Option<ByNamespace>,
}

impl Results {
    fn lines(self) -> Vec<String> {
        let Errors {
            velero,
            cluster,
            namespaces,
        } = self.errors.unwrap_or_default();
        let namespaces = namespaces.map(|ByNamespace(lines)| lines);
        [velero, cluster, namespaces]
            .into_iter()
            .flatten()
            .flat_map(|Lines(lines)| lines)
            .take(LINES)
            .collect()
    }
}

/// The first of a list of lines.
#[derive(Default)]
struct Lines(Vec<String>);

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Lines;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of lines")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Lines, A::Error> {
                let mut lines = Vec::new();
                while lines.len() < LINES {
                    let Some(Line(line)) = list.next_element()? else {
                        return Ok(Lines(lines));
                    };
                    if !line.is_empty() {
                        lines.push(line);
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Lines(lines))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

/// The first lines of all namespaces, as the file orders them.
#[derive(Default)]
struct ByNamespace(Lines);

impl<'de> Deserialize<'de> for ByNamespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;

        impl<'de> Visitor<'de> for Map {
            type Value = ByNamespace;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("lists of lines by namespace")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ByNamespace, A::Error> {
                let mut all = Vec::new();
                while map.next_key::<IgnoredAny>()?.is_some() {
                    if all.len() < LINES {
                        let lines: Option<Lines> = map.next_value()?;
                        all.extend(lines.unwrap_or_default().0);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(ByNamespace(Lines(all)))
            }
        }

        deserializer.deserialize_map(Map)
    }
}

/// One line, short and printable.
struct Line(String);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Line;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a line")
            }

            fn visit_str<E>(self, text: &str) -> Result<Line, E> {
                Ok(Line(printable(text)))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// The beginning of a text in one line, without what could move a terminal's cursor.
fn printable(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        let c = if c.is_control() || c.is_whitespace() {
            ' '
        } else {
            c
        };
        if line.len() + c.len_utf8() > LINE_BYTES {
            break;
        }
        if c != ' ' || !(line.is_empty() || line.ends_with(' ')) {
            line.push(c);
        }
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
#[path = "results/tests.rs"]
mod tests;

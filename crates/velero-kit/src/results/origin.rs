//! From where may a file of a member be fetched? Only from where the Fleet says that backups lie.

use api_types::fleet::BackupLocation;
use url::{Origin, Url};

/// Setting of Velero's object store plugin: the endpoint as clients outside of the member see it.
const PUBLIC_URL: &str = "publicUrl";

/// Scheme, host and port of each place that a Fleet names: its `endpoint` and `config.publicUrl`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<Origin>);

/// A link that is not followed. The link itself is not told: who knows it can read the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// It is no link of `http` or `https`, or holds a user's name or password.
    #[error("the member's link is none of plain http or https")]
    NotALink,
    /// It leads elsewhere.
    #[error("the member's link does not lead to the Fleet's endpoint or publicUrl")]
    Elsewhere,
}

impl Origins {
    /// The places that a location names. What is no URL names none.
    pub fn of(location: &BackupLocation) -> Self {
        let public = location.config.get(PUBLIC_URL);
        let named = [Some(&location.endpoint), public];
        let links = named.into_iter().flatten().filter_map(|text| link(text));
        Self(links.map(|link| link.origin()).collect())
    }

    /// Whether nothing can be fetched.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The link that a member gave, if scheme, host and port are those of one of these places.
    pub fn admit(&self, text: &str) -> Result<Url, NotAllowed> {
        let link = link(text).ok_or(NotAllowed::NotALink)?;
        if !self.0.contains(&link.origin()) {
            return Err(NotAllowed::Elsewhere);
        }
        Ok(link)
    }
}

fn link(text: &str) -> Option<Url> {
    let link = Url::parse(text).ok()?;
    let plain = matches!(link.scheme(), "http" | "https")
        && link.has_host()
        && link.username().is_empty()
        && link.password().is_none();
    plain.then_some(link)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn origins(endpoint: &str, public_url: Option<&str>) -> Origins {
        let mut location = json!({ "bucket": "b", "provider": "aws", "endpoint": endpoint });
        if let Some(url) = public_url {
            location["config"] = json!({ "publicUrl": url });
        }
        Origins::of(&serde_json::from_value(location).unwrap())
    }

    #[test]
    fn a_link_is_followed_only_where_scheme_host_and_port_are_those_of_the_fleet() {
        let origins = origins(
            "https://s3.example.org/",
            Some("http://public.example.org:9000"),
        );
        let allowed = [
            "https://s3.example.org/b/restores/r/restore-r-results.gz?X-Amz-Signature=1",
            "https://s3.example.org:443/b/x",
            "https://S3.Example.ORG/b/x",
            "http://public.example.org:9000/b/x",
        ];
        for text in allowed {
            assert!(origins.admit(text).is_ok(), "{text}");
        }
        let elsewhere = [
            "http://s3.example.org/b/x",
            "https://s3.example.org:8443/b/x",
            "https://public.example.org:9000/b/x",
            "http://public.example.org/b/x",
            "http://public.example.org:90000/b/x",
            "https://b.s3.example.org/x",
            "https://s3.example.org.evil.example/b/x",
            "https://evil.example/?https://s3.example.org/",
            "https://evil.example/https://s3.example.org/b/x",
            r"https://evil.example\@s3.example.org/b/x",
            "http://169.254.169.254/latest/meta-data/",
            "http://[::1]:9000/b/x",
        ];
        for text in elsewhere {
            assert!(origins.admit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_plain_link_is_not_followed() {
        let origins = origins("https://s3.example.org", None);
        let not_links = [
            "",
            "/b/x",
            "//s3.example.org/b/x",
            "s3.example.org/b/x",
            "https://",
            "file:///etc/passwd",
            "ftp://s3.example.org/b/x",
            "blob:https://s3.example.org/b/x",
            "data:text/plain,https://s3.example.org",
            "https://user@s3.example.org/b/x",
            "https://user:password@s3.example.org/b/x",
            "https://s3.example.org@evil.example/b/x",
        ];
        for text in not_links {
            assert_eq!(origins.admit(text), Err(NotAllowed::NotALink), "{text}");
        }
    }

    #[test]
    fn a_fleet_that_names_no_endpoint_lets_nothing_be_fetched() {
        for endpoint in ["", "s3.example.org", "https://", "ftp://s3.example.org"] {
            let origins = origins(endpoint, None);
            assert!(origins.is_empty(), "{endpoint}");
            assert_eq!(
                origins.admit("https://s3.example.org/b/x"),
                Err(NotAllowed::Elsewhere)
            );
        }
    }
}

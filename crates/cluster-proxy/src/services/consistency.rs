//! How new an answer must be.

use std::time::Duration;

use proxy_client::proto::{self, get_request::Consistency as Asked};

use crate::{error::CallError, link::Link, request::name};

const VERSION_MAX: usize = 128;

/// How new an answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Consistency {
    /// The member's present state.
    Live,
    /// What a watch holds.
    Cached,
    /// What a watch holds, if it is of this version or a later one.
    NotOlderThan(String),
    /// What the member's own cache holds.
    Any,
}

impl Consistency {
    /// Of a Get.
    pub(super) fn of_get(request: &proto::GetRequest) -> Result<Self, CallError> {
        match Self::of(request.consistency, &request.min_resource_version)? {
            Self::Any => Err(CallError::invalid("consistency", "ANY is for List only")),
            known => Ok(known),
        }
    }

    /// Of a List.
    pub(super) fn of_list(request: &proto::ListRequest) -> Result<Self, CallError> {
        let consistency = Self::of(request.consistency, &request.min_resource_version)?;
        if consistency == Self::Live {
            return Ok(consistency);
        }
        if !request.continue_token.is_empty() {
            let why =
                "a continue_token names its version itself: LIVE is the only one it goes with";
            return Err(CallError::invalid("consistency", why));
        }
        if consistency == Self::Any && request.limit > 0 {
            let why = "a member that may answer with any version ignores it";
            return Err(CallError::invalid("limit", why));
        }
        Ok(consistency)
    }

    fn of(asked: i32, version: &str) -> Result<Self, CallError> {
        const FIELD: &str = "min_resource_version";
        let asked = Asked::try_from(asked)
            .map_err(|_| CallError::invalid("consistency", "is not a known one"))?;
        name::token(FIELD, version, VERSION_MAX)?;
        match (asked, version) {
            (Asked::NotOlderThan, "") => {
                Err(CallError::invalid(FIELD, "is required with NOT_OLDER_THAN"))
            }
            (Asked::NotOlderThan, version) => Ok(Self::NotOlderThan(version.to_owned())),
            (Asked::Live, "") => Ok(Self::Live),
            (Asked::Cached, "") => Ok(Self::Cached),
            (Asked::Any, "") => Ok(Self::Any),
            _ => Err(CallError::invalid(FIELD, "is for NOT_OLDER_THAN only")),
        }
    }

    /// Whether what a watch holds may be the answer, and of which version it must be then.
    #[allow(
        clippy::option_option,
        reason = "whether a watch may answer, and from which version on"
    )]
    pub(super) fn of_watch(&self) -> Option<Option<&str>> {
        match self {
            Self::Cached => Some(None),
            Self::NotOlderThan(version) => Some(Some(version)),
            Self::Live | Self::Any => None,
        }
    }

    /// `resourceVersion` and `resourceVersionMatch` of the first page of a list; empty: without.
    pub(super) fn for_member(&self) -> (&str, &'static str) {
        match self {
            Self::Live | Self::Cached => ("", ""),
            Self::NotOlderThan(version) => (version, "NotOlderThan"),
            Self::Any => ("0", ""),
        }
    }
}

/// Of an answer that came from the member just now, or that a watch holds.
pub(super) fn freshness(link: &Link, age: Option<Duration>) -> proto::Freshness {
    proto::Freshness {
        from_cache: age.is_some(),
        age: age.unwrap_or_default().try_into().ok(),
        link_up: link.status().is_up(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(asked: i32, version: &str) -> proto::ListRequest {
        proto::ListRequest {
            consistency: asked,
            min_resource_version: version.into(),
            ..Default::default()
        }
    }

    #[test]
    fn every_consistency_has_its_meaning_for_watches_and_for_the_member() {
        let seven = Consistency::NotOlderThan("7".into());
        let rows = [
            (Asked::Live, "", Consistency::Live, None, ("", "")),
            (Asked::Cached, "", Consistency::Cached, Some(None), ("", "")),
            (
                Asked::NotOlderThan,
                "7",
                seven,
                Some(Some("7")),
                ("7", "NotOlderThan"),
            ),
            (Asked::Any, "", Consistency::Any, None, ("0", "")),
        ];
        for (asked, version, wanted, of_watch, for_member) in rows {
            let got = Consistency::of_list(&list(asked.into(), version)).unwrap();
            assert_eq!(got, wanted);
            assert_eq!(got.of_watch(), of_watch);
            assert_eq!(got.for_member(), for_member);
        }
        assert_eq!(proto::GetRequest::default().consistency(), Asked::Live);
    }

    #[test]
    fn what_does_not_go_together_is_invalid() {
        let any = Asked::Any.into();
        let get = proto::GetRequest {
            consistency: any,
            ..Default::default()
        };
        let refused = Consistency::of_get(&get).unwrap_err();
        assert_eq!(refused.field.as_deref(), Some("consistency"));
        let rows = [
            (list(99, ""), "consistency"),
            (list(Asked::NotOlderThan.into(), ""), "min_resource_version"),
            (
                list(Asked::NotOlderThan.into(), "1&watch"),
                "min_resource_version",
            ),
            (
                list(Asked::NotOlderThan.into(), &"1".repeat(200)),
                "min_resource_version",
            ),
            (list(Asked::Live.into(), "7"), "min_resource_version"),
            (list(Asked::Cached.into(), "7"), "min_resource_version"),
            (list(any, "7"), "min_resource_version"),
            (
                proto::ListRequest {
                    limit: 1,
                    ..list(any, "")
                },
                "limit",
            ),
            (
                proto::ListRequest {
                    continue_token: "t".into(),
                    ..list(any, "")
                },
                "consistency",
            ),
            (
                proto::ListRequest {
                    continue_token: "t".into(),
                    ..list(Asked::Cached.into(), "")
                },
                "consistency",
            ),
        ];
        for (request, field) in rows {
            let refused = Consistency::of_list(&request).unwrap_err();
            assert_eq!(refused.field.as_deref(), Some(field), "{request:?}");
            assert_eq!(refused.reason, "INVALID_REQUEST");
        }
        let token = proto::ListRequest {
            continue_token: "t".into(),
            limit: 3,
            ..list(0, "")
        };
        assert_eq!(Consistency::of_list(&token).unwrap(), Consistency::Live);
    }
}

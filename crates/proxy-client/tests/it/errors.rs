//! Every class of error that the proxy can send, and those that it cannot.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use proxy_client::{
    Error, ListOptions, MemberApi, Origin, PatchKind, Retry, WriteOutcome,
    fake::{BY_MEMBER as MEMBER, BY_PROXY as PROXY, Proxy, soon, status},
};
use serde_json::json;
use tonic::Code;

use crate::fixture::oslo;

async fn create(api: &MemberApi<ConfigMap>) -> Error {
    let mut map = ConfigMap::default();
    map.metadata.name = Some("prices".into());
    soon(api.create(&map, "tester")).await.unwrap_err()
}

type Case = (Code, &'static str, &'static str, &'static str, Retry);

/// Code, reason and domain as sent; category and retry as expected, where the proxy says nothing.
const ANSWERS: [Case; 27] = [
    (Code::NotFound, "", MEMBER, "not_found", Retry::No),
    (
        Code::NotFound,
        "GVR_NOT_SERVED",
        MEMBER,
        "not_served",
        Retry::No,
    ),
    (
        Code::NotFound,
        "CLUSTER_UNKNOWN",
        PROXY,
        "unknown_cluster",
        Retry::No,
    ),
    (Code::AlreadyExists, "", MEMBER, "already_exists", Retry::No),
    (Code::Aborted, "", MEMBER, "conflict", Retry::AfterReread),
    (
        Code::Aborted,
        "APPLY_CONFLICT",
        MEMBER,
        "apply_conflict",
        Retry::AfterReread,
    ),
    (
        Code::PermissionDenied,
        "",
        MEMBER,
        "refused",
        Retry::AfterFix,
    ),
    (
        Code::PermissionDenied,
        "NOT_ALLOWED",
        PROXY,
        "refused",
        Retry::AfterFix,
    ),
    (Code::Unauthenticated, "", PROXY, "refused", Retry::AfterFix),
    (
        Code::FailedPrecondition,
        "STALE_LEADER",
        PROXY,
        "refused",
        Retry::AfterFix,
    ),
    (Code::InvalidArgument, "", MEMBER, "invalid", Retry::No),
    (
        Code::InvalidArgument,
        "TOO_LARGE",
        MEMBER,
        "invalid",
        Retry::No,
    ),
    (Code::OutOfRange, "", MEMBER, "expired", Retry::AfterReread),
    (
        Code::FailedPrecondition,
        "MEMBER_UNAUTHORIZED",
        MEMBER,
        "credentials",
        Retry::AfterFix,
    ),
    (
        Code::FailedPrecondition,
        "CREDENTIALS_REFUSED",
        PROXY,
        "credentials",
        Retry::AfterFix,
    ),
    (
        Code::FailedPrecondition,
        "MEMBER_CERT_INVALID",
        PROXY,
        "credentials",
        Retry::AfterFix,
    ),
    (
        Code::Unavailable,
        "CLUSTER_UNREACHABLE",
        PROXY,
        "unreachable",
        Retry::Yes,
    ),
    (Code::Unavailable, "", MEMBER, "retry_after", Retry::Yes),
    (
        Code::ResourceExhausted,
        "",
        MEMBER,
        "retry_after",
        Retry::Yes,
    ),
    (
        Code::ResourceExhausted,
        "QUEUE_FULL",
        PROXY,
        "retry_after",
        Retry::Yes,
    ),
    (
        Code::ResourceExhausted,
        "MEMBER_RESPONSE_TOO_LARGE",
        PROXY,
        "malformed",
        Retry::Yes,
    ),
    (
        Code::Internal,
        "MEMBER_MALFORMED",
        PROXY,
        "malformed",
        Retry::No,
    ),
    (
        Code::Unavailable,
        "DRAINING",
        PROXY,
        "proxy_unavailable",
        Retry::Yes,
    ),
    (
        Code::Unavailable,
        "NOT_READY",
        PROXY,
        "proxy_unavailable",
        Retry::Yes,
    ),
    (Code::DeadlineExceeded, "", MEMBER, "timeout", Retry::Yes),
    (Code::Internal, "", MEMBER, "failed", Retry::No),
    (Code::Unimplemented, "", MEMBER, "failed", Retry::No),
];

#[tokio::test]
async fn every_answer_of_the_proxy_has_its_own_error() {
    let proxy = Proxy::start();
    let api = proxy.members().api::<ConfigMap>(&oslo()).namespace("shop");
    for (code, reason, domain, category, retry) in ANSWERS {
        proxy.fake.state().failure = Some(status(code, reason, domain, "because", &[]));
        let error = soon(api.get("prices")).await.unwrap_err();
        assert_eq!(error.category(), category, "{code:?} {reason}");
        let detail = error.detail();
        let origin = if domain == MEMBER {
            Origin::Member
        } else {
            Origin::Proxy
        };
        assert_eq!(
            (detail.origin, detail.retry),
            (origin, retry),
            "{code:?} {reason}"
        );
        assert_eq!(
            error.write_outcome(),
            WriteOutcome::NotSent,
            "a read wrote nothing"
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        let text = error.to_string();
        for part in [
            "get configmaps shop/prices",
            "AttachedCluster default/oslo",
            "because",
        ] {
            assert!(text.contains(part), "{text:?} lacks {part:?}");
        }
    }
}

#[tokio::test]
async fn the_outcome_of_a_write_is_what_the_proxy_says_it_is() {
    let proxy = Proxy::start();
    let api = proxy.members().api::<ConfigMap>(&oslo()).namespace("shop");
    let cases = [
        ("not_sent", "unreachable", WriteOutcome::NotSent),
        ("unknown", "outcome_unknown", WriteOutcome::Unknown),
        ("rejected", "unreachable", WriteOutcome::Rejected),
        ("applied", "unreachable", WriteOutcome::Applied),
    ];
    for (said, category, outcome) in cases {
        let extra = [("write_outcome", said), ("retryable", "no")];
        let status = status(Code::Unavailable, "CLUSTER_UNREACHABLE", PROXY, "m", &extra);
        proxy.fake.state().failure = Some(status);
        let error = create(&api).await;
        assert_eq!(
            (error.category(), error.write_outcome()),
            (category, outcome),
            "{said}"
        );
        assert_eq!(
            error.detail().retry,
            Retry::No,
            "the proxy's word beats the code's default"
        );
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn a_proxy_that_is_down_is_told_apart_from_an_unknown_outcome() {
    let mut proxy = Proxy::start();
    let api = proxy.members().api::<ConfigMap>(&oslo()).namespace("shop");

    proxy.fake.state().hangs = true;
    let during = tokio::spawn({
        let api = api.clone();
        async move { create(&api).await }
    });
    soon(proxy.fake.called("create")).await;
    proxy.kill();
    let error = soon(during).await.unwrap();
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
    assert_eq!(error.write_outcome(), WriteOutcome::Unknown);

    let error = create(&api).await;
    assert!(matches!(error, Error::ProxyUnavailable(_)), "{error}");
    assert_eq!(error.write_outcome(), WriteOutcome::NotSent);
    assert!(error.is_transient());
    assert!(error.to_string().contains("check that it runs"), "{error}");
}

#[tokio::test]
async fn a_call_that_is_not_answered_ends_at_its_deadline() {
    let proxy = Proxy::start();
    let api = proxy
        .members()
        .api::<ConfigMap>(&oslo())
        .namespace("shop")
        .deadline(Duration::from_secs(2));
    proxy.fake.state().hangs = true;
    let error = create(&api).await;
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
    let error = soon(api.get("prices")).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_does_not_hide_that_the_write_happened() {
    let proxy = Proxy::start();
    let api = proxy.members().api::<ConfigMap>(&oslo()).namespace("shop");
    let body = json!({ "data": { "value": 5 } });
    let error = soon(api.apply("prices", &body, "tester", true))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Malformed(_)), "{error}");
    assert_eq!(error.write_outcome(), WriteOutcome::Applied);

    let patch = api.patch("prices", PatchKind::Merge, &body, "tester");
    let error = soon(patch).await.unwrap_err();
    assert!(matches!(error, Error::Malformed(_)), "{error}");

    proxy.fake.state().breaks_lists = true;
    let error = soon(api.list(&ListOptions::default())).await.unwrap_err();
    assert!(error.to_string().contains("broke off"), "{error}");
    assert_eq!(error.write_outcome(), WriteOutcome::NotSent);
}

#[tokio::test]
async fn an_object_that_is_too_large_is_refused_before_it_is_sent() {
    let proxy = Proxy::start();
    let api = proxy.members().api::<ConfigMap>(&oslo()).namespace("shop");
    let body = json!({ "data": { "value": "x".repeat(4 << 20) } });
    let error = soon(api.apply("prices", &body, "tester", true))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert_eq!(error.write_outcome(), WriteOutcome::NotSent);
    assert!(proxy.fake.state().calls.is_empty());
}

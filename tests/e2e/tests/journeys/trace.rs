//! One trace goes from a reconcile through the proxy to the call of the member.

use api_types::phase::Phase;
use e2e::PATIENCE;
use e2e::specs::demo_backup;
use testbed::wait_ok;

use crate::otlp::{self, Span};
use crate::world::{ONE, tenant_of};

#[tokio::test]
async fn one_trace_leads_from_the_reconcile_to_the_call_of_the_member() {
    let tenant = tenant_of("traced", &[ONE]).await;
    tenant.back_up("traced", demo_backup()).await.unwrap();
    tenant.wait_phase("traced", Phase::Completed).await.unwrap();

    wait_ok("one trace over both processes", PATIENCE, async || {
        let ours = |span: &Span| is_reconcile_of(span, "traced");
        let spans = otlp::receiver().traces(ours);
        let found = spans.iter().any(|span| {
            let way = way_up(&spans, span);
            is_member_call(span) && way.iter().any(|span| ours(span))
        });
        let names: Vec<_> = spans
            .iter()
            .map(|span| (&span.service, &span.name))
            .collect();
        anyhow::ensure!(found, "only {names:?}");
        Ok(())
    })
    .await
    .unwrap();
}

fn is_reconcile_of(span: &Span, name: &str) -> bool {
    span.service == "backup-controller"
        && span.name == "reconcile"
        && span
            .attributes
            .get("name")
            .is_some_and(|value| value == name)
}

fn is_member_call(span: &Span) -> bool {
    span.service == "cluster-proxy" && span.name == "member_request"
}

/// A span and those that it is part of, up to the outermost.
fn way_up<'a>(spans: &'a [Span], last: &'a Span) -> Vec<&'a Span> {
    let mut way = vec![last];
    while let Some(parent) = spans
        .iter()
        .find(|span| span.id == way[way.len() - 1].parent)
    {
        way.push(parent);
    }
    way
}

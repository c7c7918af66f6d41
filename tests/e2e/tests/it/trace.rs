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
        let reconciles = |span: &Span| {
            span.service == "backup-controller"
                && span
                    .attributes
                    .values()
                    .any(|value| value.contains("traced"))
        };
        let spans = otlp::receiver().traces(reconciles);
        let chain = spans.iter().find_map(|span| chain(&spans, span));
        let names: Vec<_> = spans
            .iter()
            .map(|span| (&span.service, &span.name))
            .collect();
        anyhow::ensure!(chain.is_some(), "only {names:?}");
        Ok(())
    })
    .await
    .unwrap();
}

/// The way up from a span of the proxy to one of the controller, if there is one.
fn chain<'a>(spans: &'a [Span], last: &'a Span) -> Option<Vec<&'a Span>> {
    if last.service != "cluster-proxy" {
        return None;
    }
    let mut chain = vec![last];
    while let Some(parent) = spans
        .iter()
        .find(|span| span.id == chain[chain.len() - 1].parent)
    {
        chain.push(parent);
    }
    (chain[chain.len() - 1].service == "backup-controller").then_some(chain)
}

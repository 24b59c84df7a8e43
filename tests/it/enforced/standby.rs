//! What readiness says of controllers of which one leads.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::world::{LEADER_LEASE, MAX_STALENESS, World, client};
use crate::support::keyturn::Keyturn;
use crate::support::process::Signal;
use crate::support::wait::eventually;

const LEADS: &str = "ready:\n- the controller leads\n";
const STANDS_BY: &str = "ready:\n- the controller stands by: another one leads, or is about to\n";

async fn becomes(process: &Keyturn, expected: &str) {
    eventually(&format!("it is {expected}"), async || {
        let answer = process.health().get("/readyz", &[]).await?;
        if answer.body == expected && answer.status == 200 { Ok(()) } else { Err(answer.body) }
    })
    .await;
}

#[tokio::test]
async fn a_controller_says_whether_it_leads_or_stands_by() {
    let world = World::without_controller().await;
    let mut leader = world.controller();
    becomes(&leader, LEADS).await;
    let next = world.controller();
    becomes(&next, STANDS_BY).await;
    leader.signal(Signal::TERM);
    leader.process().ended().await;
    becomes(&next, LEADS).await;
}

/// Controller and verifier in one process share the port that tells, and nothing else.
#[tokio::test]
async fn a_process_that_ceases_to_lead_goes_on_judging() {
    let world = World::without_controller().await;
    let mut both = Keyturn::start("all", world.namespace(), &[LEADER_LEASE, MAX_STALENESS, "--drain-delay=0s"]);
    both.ready().await;
    let string = world.mint("ci").await;
    becomes(&both, LEADS).await;
    world.answers(&client(&both), &string, "ALLOWED").await;

    let leases: Api<Lease> = world.leases();
    let theft = Patch::Merge(json!({"spec": {"holderIdentity": "somebody else"}}));
    leases.patch("keyturn-controller", &PatchParams::default(), &theft).await.expect("the Lease is taken");
    let mut said = Vec::new();
    eventually("it stands by, and takes over when nothing is heard of the other one", async || {
        let answer = both.health().get("/readyz", &[]).await?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(world.ask(&client(&both), &string).await.as_deref(), Ok("ALLOWED"));
        if said.last() != Some(&answer.body) {
            said.push(answer.body);
        }
        let last = said.iter().rposition(|body| body == LEADS);
        match said.iter().position(|body| body == STANDS_BY) {
            Some(stood_by) if last > Some(stood_by) => Ok(()),
            _ => Err(format!("{said:?}")),
        }
    })
    .await;
}

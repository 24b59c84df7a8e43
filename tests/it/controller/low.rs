//! What people are told of quotas and credits of which little is left: verifiers' part is played by the tests, which
//! write ledgers.

use jiff::Timestamp;
use keyturn::resources::apikey::KeyState;
use keyturn::resources::notices::BudgetNotice;
use keyturn::resources::{ApiKey, ApiKeyOwner};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::notices::{told, told_so_often};
use super::owners::usage_of;
use super::world::World;

/// Every reason with which something is told.
const REASONS: [&str; 4] = ["CreditsLow", "CreditsExhausted", "QuotaNearlyExhausted", "QuotaExhausted"];

fn credits(epoch: u64, reserved: u64) -> Value {
    json!({"kind": "Credits", "name": "", "period": "", "epoch": epoch, "reserved": reserved})
}

fn quota(kind: &str, period: &str, reserved: u64) -> Value {
    json!({"kind": kind, "name": "requests", "period": period, "epoch": 0, "reserved": reserved})
}

fn quotas(limit: u64, period: &str) -> Value {
    json!([{"name": "requests", "limit": limit, "period": period}])
}

impl World {
    /// Applies a key with credits or quotas, and waits until it is in use.
    async fn metered(&self, name: &str, spec: Value) -> ApiKey {
        self.create_key(name, spec).await;
        self.key_in_state(name, KeyState::Active).await
    }

    /// Writes what is handed out of a key's quotas and credits.
    async fn hand_out(&self, key: &str, ledger: Value) {
        let key = self.keys().get(key).await.expect("there is the key");
        self.hand_out_of(&format!("key-{}", key.uid().expect("an object has a uid")), ledger).await;
    }

    async fn hand_out_of(&self, usage: &str, ledger: Value) {
        let change = Patch::Merge(json!({"status": {"ledger": [ledger]}}));
        self.usages().patch_status(usage, &PatchParams::default(), &change).await.expect("it is taken");
    }

    /// Waits until everybody was looked at whose ledger has changed so far: another key, behind them, is told of.
    async fn all_are_looked_at(&self, marker: &str) {
        self.metered(marker, json!({"quotas": quotas(10, "Month")})).await;
        self.hand_out(marker, quota("Quota", &this_month(), 10)).await;
        self.event(marker, "QuotaExhausted").await;
    }

    /// What was told with those reasons, but for markers.
    async fn all_told(&self, markers: usize) -> Vec<usize> {
        let mut counts = Vec::new();
        for reason in REASONS {
            let marked = if reason == "QuotaExhausted" { markers } else { 0 };
            counts.push(told(self, reason).await.expect("the API server answers").len() - marked);
        }
        counts
    }
}

fn today() -> String {
    keyturn::clock::now().to_string()[..10].to_owned()
}

fn this_month() -> String {
    today()[..7].to_owned()
}

/// When the day of a test is over, which may be a day later than it has begun.
fn midnight() -> Timestamp {
    let day: jiff::civil::Date = today().parse().expect("it is a day");
    day.tomorrow()
        .expect("there is another day")
        .to_zoned(jiff::tz::TimeZone::UTC)
        .expect("it has a midnight")
        .timestamp()
}

fn notices(key: &ApiKey) -> Vec<BudgetNotice> {
    key.status.as_ref().and_then(|status| status.notices.clone()).unwrap_or_default().budgets
}

#[tokio::test]
async fn low_credits_are_told_once_and_again_when_more_is_granted_and_used_up() {
    let mut world = World::new().await;
    world.metered("ci", json!({"credits": {"granted": 1000}})).await;
    world.hand_out("ci", credits(0, 899)).await;
    world.all_are_looked_at("after-899").await;
    assert_eq!(world.all_told(1).await, [0, 0, 0, 0], "a tenth and a bit is left");

    world.hand_out("ci", credits(0, 900)).await;
    let said = told_so_often(&world, "CreditsLow", 1).await;
    assert_eq!(said, ["spec.credits: 100 of 1000 are left; for more, raise granted"]);
    let key = world.key_when("ci", "a notice", |key| notices(key).len() == 1).await;
    let noted = json!([{"kind": "Credits", "name": "", "period": "", "epoch": 0, "limit": 1000, "reserved": 900}]);
    assert_eq!(serde_json::to_value(notices(&key)).unwrap(), noted);

    world.hand_out("ci", credits(0, 950)).await;
    world.stop_controller().await;
    world.hand_out("ci", credits(0, 960)).await;
    world.start_controller().await;
    world.hand_out("ci", credits(0, 970)).await;
    world.all_are_looked_at("after-970").await;
    assert_eq!(world.all_told(2).await, [1, 0, 0, 0], "neither more use nor another controller tells it again");

    // 100 were left when it was told.
    world.patch_key("ci", json!({"credits": {"granted": 1900}})).await;
    world.hand_out("ci", credits(0, 1850)).await;
    let said = told_so_often(&world, "CreditsLow", 2).await;
    assert!(said.iter().any(|said| said.starts_with("spec.credits: 50 of 1000 are left")), "{said:?}");
    world.hand_out("ci", credits(0, 1900)).await;
    let said = told_so_often(&world, "CreditsExhausted", 1).await;
    assert_eq!(
        said,
        [
            "spec.credits: all are handed out, so requests that cost any are refused with CREDITS_EXHAUSTED; for more, raise granted"
        ]
    );
    // A new balance knows nothing of the old one, and so does a lowered one of a raised one.
    world.patch_key("ci", json!({"credits": {"granted": 100, "epoch": 1}})).await;
    world.hand_out("ci", credits(1, 50)).await;
    world.all_are_looked_at("after-epoch").await;
    assert_eq!(world.all_told(3).await, [2, 1, 0, 0]);
    world.patch_key("ci", json!({"credits": {"granted": 55, "epoch": 1}})).await;
    told_so_often(&world, "CreditsLow", 3).await;
}

#[tokio::test]
async fn quotas_of_a_key_and_of_its_tier_are_told_with_when_they_begin_anew() {
    let world = World::new().await;
    world.create_tier("pro", json!({"quotas": quotas(50, "Month")})).await;
    world.metered("own", json!({"quotas": quotas(500, "Day")})).await;
    world.metered("tiers", json!({"tier": "pro"})).await;
    let midnight = midnight();
    world.hand_out("own", quota("Quota", &today(), 470)).await;
    world.hand_out("tiers", quota("TierQuota", &this_month(), 45)).await;
    let own = world.event("own", "QuotaNearlyExhausted").await;
    let expected = format!(
        r#"spec.quotas: 30 of 500 requests of "requests" are left until {midnight}; for more, raise its limit"#
    );
    assert_eq!(own, expected);
    let tiers = world.event("tiers", "QuotaNearlyExhausted").await;
    assert!(
        tiers.starts_with(r#"spec.quotas of the ApiKeyTier: 5 of 50 requests of "requests" are left until"#),
        "{tiers}"
    );

    // Raised, it is not low any more; lowered, it is without anybody using it.
    world.patch_tier("pro", json!({"quotas": quotas(1000, "Month")})).await;
    world.hand_out("tiers", quota("TierQuota", &this_month(), 46)).await;
    world.all_are_looked_at("after-raise").await;
    assert_eq!(world.all_told(1).await, [0, 0, 2, 0]);
    world.patch_tier("pro", json!({"quotas": quotas(40, "Month")})).await;
    let exhausted = world.event("tiers", "QuotaExhausted").await;
    assert!(exhausted.contains("all 40 requests") && exhausted.contains("QUOTA_EXCEEDED until"), "{exhausted}");
}

#[tokio::test]
async fn what_an_owners_keys_share_is_told_on_the_owner_once() {
    let mut world = World::new().await;
    world.create_owner("acme", json!({"quotas": quotas(100, "Month")})).await;
    let acme = world.owner_when("acme", "an ApiKeyUsage", |owner| usage_of(owner).is_some()).await;
    let (usage, _) = usage_of(&acme).unwrap();
    world.hand_out_of(&usage, quota("Quota", &this_month(), 91)).await;
    let said = world.event("acme", "QuotaNearlyExhausted").await;
    assert!(said.starts_with(r#"spec.quotas: 9 of 100 requests of "requests" are left until"#), "{said}");
    let noted = |owner: &ApiKeyOwner| {
        let notices = owner.status.as_ref().and_then(|status| status.notices.as_ref());
        notices.map(|notices| notices.budgets.iter().map(|it| (it.reserved, it.exhausted)).collect::<Vec<_>>())
    };
    world.owner_when("acme", "a notice", |owner| noted(owner) == Some(vec![(91, false)])).await;

    world.stop_controller().await;
    world.start_controller().await;
    world.hand_out_of(&usage, quota("Quota", &this_month(), 95)).await;
    world.all_are_looked_at("after-95").await;
    assert_eq!(world.all_told(1).await, [0, 0, 1, 0]);
    world.hand_out_of(&usage, quota("Quota", &this_month(), 100)).await;
    world.event("acme", "QuotaExhausted").await;
    world.owner_when("acme", "another notice", |owner| noted(owner) == Some(vec![(100, true)])).await;
}

#[tokio::test]
async fn a_ledger_that_is_deleted_meanwhile_disturbs_nobody_and_the_next_is_told_of_anew() {
    let world = World::new().await;
    let key = world.metered("ci", json!({"credits": {"granted": 100}})).await;
    let usage = format!("key-{}", key.uid().expect("an object has a uid"));
    world.hand_out("ci", credits(0, 95)).await;
    world.event("ci", "CreditsLow").await;
    // Before anybody can have read it.
    world.hand_out("ci", credits(0, 100)).await;
    world.usages().delete(&usage, &DeleteParams::default()).await.expect("it is deleted");
    world.event("ci", "UsageLost").await;
    world.all_are_looked_at("after-delete").await;
    assert_eq!(world.all_told(1).await, [1, 0, 0, 0]);

    let lost = key.status.and_then(|status| status.usage).expect("the status names it").uid;
    let reset = Patch::Merge(json!({"metadata": {"annotations": {"keyturn.dev/reset-usage": lost}}}));
    world.keys().patch("ci", &PatchParams::default(), &reset).await.expect("it is taken");
    let anew = |key: &ApiKey| {
        let usage = key.status.as_ref().and_then(|status| status.usage.as_ref());
        usage.is_some_and(|usage| usage.uid != lost) && notices(key).is_empty()
    };
    world.key_when("ci", "another ApiKeyUsage of which nothing was told", anew).await;
    world.hand_out("ci", credits(0, 95)).await;
    told_so_often(&world, "CreditsLow", 2).await;
}

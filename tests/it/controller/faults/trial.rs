//! One run of a scenario behind an API server that fails as told.

use keyturn::core::pepper::Peppers;
use keyturn::resources::apikey::ApiKeyStatus;

use super::super::world::World;
use super::invariants;
use super::scenario::{KEY, Scenario};
use crate::support::apiserver::{Call, Fault, FaultyApiServer};

pub(super) struct Trial {
    pub(super) world: World,
    pub(super) server: FaultyApiServer,
    scenario: Scenario,
    /// Says what goes wrong.
    faults: String,
    before: Option<ApiKeyStatus>,
    peppers: Peppers,
}

impl Trial {
    /// The user has acted; nobody is at work yet.
    pub(super) async fn begin(
        scenario: Scenario,
        faults: String,
        rule: impl FnMut(&Call) -> Fault + Send + 'static,
    ) -> Self {
        let mut world = World::without_controller().await;
        scenario.prepare(&mut world).await;
        let before = world.keys().get_opt(KEY).await.unwrap().and_then(|key| key.status);
        let server = FaultyApiServer::start(world.client(), rule).await;
        scenario.act(&world).await;
        let peppers = world.peppers().await;
        Self { world, server, scenario, faults, before, peppers }
    }

    pub(super) async fn comes_to_its_end(&self) {
        self.scenario.wait_for_the_end(&self.world, &self.faults).await;
    }

    /// Lets one more controller do the rest; answers how many writes there were of all.
    pub(super) async fn finish(mut self) -> usize {
        self.world.start_controller_with(self.server.client()).await;
        self.comes_to_its_end().await;
        self.world.stop_controller().await;
        let writes = self.server.accepted_writes();
        let faults = format!("{:?} with {}", self.scenario, self.faults);
        invariants::check(self.before.as_ref(), &writes, &self.peppers, &faults);
        writes.len()
    }
}

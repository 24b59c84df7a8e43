//! The routes that a key takes most, in bounded memory: the summary of Misra and Gries ("Finding repeated
//! elements", 1982) with [`MOST_ENDPOINTS`] counters, merged as in Agarwal et al., "Mergeable summaries" (2012).
//!
//! With no more routes than that, every count is exact. With more, a count is never too high and at most
//! N ÷ 33 too low, N being the requests of all of them, however often and in whatever order counts were merged: a
//! route with a larger share is always there.

use std::cmp::Reverse;
use std::sync::Arc;

use smallvec::SmallVec;

/// Routes that are counted at the same time.
pub const MOST_ENDPOINTS: usize = 32;

/// Routes and their requests, roughly the busiest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Endpoints(SmallVec<[Endpoint; 1]>);

/// One route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    pub route: Arc<str>,
    pub requests: u64,
}

impl Endpoint {
    /// Comparing addresses suffices until the API is edited.
    fn is(&self, route: &Arc<str>) -> bool {
        Arc::ptr_eq(&self.route, route) || self.route == *route
    }
}

impl Endpoints {
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.0.iter()
    }

    pub(super) fn count(&mut self, route: &Arc<str>) {
        let Some(at) = self.0.iter().position(|endpoint| endpoint.is(route)) else {
            return self.enter(route);
        };
        self.0[at].requests += 1;
        // What is asked for most is found first.
        if at > 0 && self.0[at - 1].requests < self.0[at].requests {
            self.0.swap(at - 1, at);
        }
    }

    /// One request of a route that has no counter. Where none is free, it and one of every other cancel out.
    fn enter(&mut self, route: &Arc<str>) {
        if self.0.len() < MOST_ENDPOINTS {
            self.0.push(Endpoint { route: Arc::clone(route), requests: 1 });
        } else {
            self.take_away(1);
        }
    }

    fn take_away(&mut self, requests: u64) {
        self.0.iter_mut().for_each(|endpoint| endpoint.requests = endpoint.requests.saturating_sub(requests));
        self.0.retain(|endpoint| endpoint.requests > 0);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for endpoint in &other.0 {
            match self.0.iter_mut().find(|known| known.is(&endpoint.route)) {
                Some(known) => known.requests = known.requests.saturating_add(endpoint.requests),
                None => self.0.push(endpoint.clone()),
            }
        }
        self.0.sort_unstable_by(|a, b| (Reverse(a.requests), &a.route).cmp(&(Reverse(b.requests), &b.route)));
        if let Some(first_too_many) = self.0.get(MOST_ENDPOINTS).map(|endpoint| endpoint.requests) {
            self.take_away(first_too_many);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl FromIterator<Endpoint> for Endpoints {
    fn from_iter<I: IntoIterator<Item = Endpoint>>(endpoints: I) -> Self {
        let mut all = Self::default();
        all.merge(&Self(endpoints.into_iter().collect()));
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(number: u16) -> Arc<str> {
        format!("r{number}").into()
    }

    fn counted(routes: &[u16]) -> Endpoints {
        let mut endpoints = Endpoints::default();
        routes.iter().for_each(|number| endpoints.count(&route(*number)));
        endpoints
    }

    /// Few routes or many, some of them much busier than others.
    fn streams() -> impl Strategy<Value = Vec<Vec<u16>>> {
        let route = prop_oneof![3 => 0_u16..4, 1 => 0..120_u16];
        prop::collection::vec(prop::collection::vec(route, 0..400), 1..5)
    }

    #[test]
    fn with_few_routes_every_count_is_exact() {
        let mut all = counted(&[1, 2, 1, 3, 1, 2]);
        all.merge(&counted(&[3, 3, 3, 4]));
        let found: Vec<_> = all.iter().map(|endpoint| (&*endpoint.route, endpoint.requests)).collect();
        assert_eq!(found, [("r3", 4), ("r1", 3), ("r2", 2), ("r4", 1)]);
    }

    #[test]
    fn a_route_goes_on_being_counted_when_its_api_is_edited() {
        let mut endpoints = Endpoints::default();
        endpoints.count(&"r1".into());
        endpoints.count(&"r1".into());
        assert_eq!(endpoints, counted(&[1, 1]));
    }

    proptest! {
        #[test]
        fn no_count_is_too_high_or_further_too_low_than_the_bound(streams in streams()) {
            let mut merged = Endpoints::default();
            streams.iter().for_each(|stream| merged.merge(&counted(stream)));
            let all: Vec<u16> = streams.concat();
            let bound = u64::try_from(all.len() / (MOST_ENDPOINTS + 1)).unwrap();
            prop_assert!(merged.0.len() <= MOST_ENDPOINTS);
            for number in 0..120 {
                let exact = u64::try_from(all.iter().filter(|other| **other == number).count()).unwrap();
                let counted = merged.iter().find(|endpoint| endpoint.is(&route(number))).map_or(0, |it| it.requests);
                prop_assert!(counted <= exact && exact - counted <= bound, "{counted} of {exact}, bound {bound}");
            }
        }

        #[test]
        fn it_makes_no_difference_who_is_merged_into_whom(streams in streams()) {
            let (one, other) = streams.split_at(streams.len() / 2);
            let (one, other) = (counted(&one.concat()), counted(&other.concat()));
            let (mut a, mut b) = (one.clone(), other.clone());
            a.merge(&other);
            b.merge(&one);
            prop_assert_eq!(a, b);
        }
    }
}

//! What the page for people shows beside the report: how it was selected, and links to other selections.

use std::collections::BTreeSet;
use std::time::SystemTime;

use crate::endpoint::route::Query;
use crate::model::suite::Suite;
use crate::render::html::View;

/// What a request has selected, and what else it could.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    tags: BTreeSet<String>,
    chosen: Vec<String>,
    others: Vec<(&'static str, String)>,
}

impl Choice {
    /// What a query selects from these checks.
    pub(super) fn of(query: Query, checks: &Suite) -> Choice {
        let Query { tags: chosen, excluded, verbose: _, signin: _, format, max_age: _ } = query;
        let excluded = excluded.into_iter().map(|name| ("exclude", name));
        let others = excluded.chain(format.map(|name| ("format", name))).collect();
        let tags = checks.checks().iter().flat_map(|check| &check.tags).cloned().collect();
        Choice { tags, chosen, others }
    }

    pub(super) fn view<'a>(&'a self, at: SystemTime, disclosed: bool, can_sign_in: bool) -> View<'a> {
        let Choice { tags, chosen, others } = self;
        View { at: Some(at), tags, chosen, others, disclosed, can_sign_in, ..View::default() }
    }
}

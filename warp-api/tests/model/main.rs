//! Random calls agree with maps, across keyspaces, deadlines, checkpoints, merges and restarts.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic, and its numbers are small"
)]

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod tested;

use calls::call;
use proptest::prelude::*;
use tested::Tested;
use warp_api::LogFormat;

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_calls_agree_with_maps(calls in prop::collection::vec(call(), 1..160), json in any::<bool>()) {
        let mut tested = Tested::new(if json { LogFormat::Json } else { LogFormat::Binary });
        for call in calls {
            tested.make(call);
        }
        tested.check();
        prop_assert!(tested.engine().verify().unwrap().is_clean());
    }
}

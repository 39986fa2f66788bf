//! The same seed gives the same run.
use crate::seeds::{play, scenario};

#[test]
fn a_seed_repeats_its_run_to_the_last_sync() {
    for (name, seed) in [("random-faults", 5), ("crash-in-reconciliation", 2)] {
        let scenario = scenario(name);
        let (one, two) = (play(scenario, seed, false), play(scenario, seed, false));
        assert_eq!((one.events, one.trace), (two.events, two.trace), "{name} {seed}");
        let other = play(scenario, seed + 1, false);
        assert_ne!(one.trace, other.trace, "another seed is another run");
    }
}

//! A source of randomness for each domain, so that what is drawn in one shifts nothing in another.

use fastrand::Rng;

/// All sources of a run.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) network: Rng,
    pub(crate) disk: Rng,
    pub(crate) process: Rng,
    pub(crate) client: Rng,
    pub(crate) operator: Rng,
}

impl Streams {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            network: stream(seed, 1),
            disk: stream(seed, 2),
            process: stream(seed, 3),
            client: stream(seed, 4),
            operator: stream(seed, 5),
        }
    }
}

/// The source of one domain.
pub(crate) fn stream(seed: u64, domain: u64) -> Rng {
    let mut rng = Rng::with_seed(seed ^ domain.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Rng::with_seed(rng.u64(..))
}

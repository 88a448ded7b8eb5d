//! How often an attempt is repeated and how long to wait in between: our words over `backoff`.
//!
//! `backoff` is used as a generator of delays only; when to repeat is decided in `run_op`.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;
use serde::{Deserialize, Serialize};

/// How often a step's operation is tried, and the waits between the tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Tries in all; the first one counts. At least 1.
    pub attempts: u32,
    /// The wait before the second try, in milliseconds; it doubles from there, with jitter.
    pub first_delay_ms: u64,
    /// The longest wait between two tries, in milliseconds.
    pub max_delay_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_delay_ms: 200,
            max_delay_ms: 10_000,
        }
    }
}

impl RetryPolicy {
    /// The waits before the second, third, … try.
    pub fn delays(&self) -> Delays {
        let backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(Duration::from_millis(self.first_delay_ms.max(1)))
            .with_max_interval(Duration::from_millis(self.max_delay_ms.max(1)))
            .with_multiplier(2.0)
            .with_randomization_factor(0.25)
            .with_max_elapsed_time(None)
            .build();
        Delays {
            backoff,
            max: Duration::from_millis(self.max_delay_ms.max(1)),
        }
    }
}

/// The endless row of waits of one [`RetryPolicy`].
#[derive(Debug)]
pub struct Delays {
    backoff: backoff::ExponentialBackoff,
    max: Duration,
}

impl Delays {
    /// The next wait; never longer than the policy's `max_delay_ms` plus jitter.
    pub fn next_delay(&mut self) -> Duration {
        self.backoff.next_backoff().unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_maximum_and_stay_there() {
        let policy = RetryPolicy {
            attempts: 9,
            first_delay_ms: 100,
            max_delay_ms: 400,
        };
        let mut delays = policy.delays();
        let all: Vec<_> = (0..8).map(|_| delays.next_delay().as_millis()).collect();
        assert!(all[0] <= 125, "{all:?}");
        assert!(all.iter().all(|ms| *ms <= 500), "{all:?}");
        assert!(all[7] >= 300, "{all:?}");
    }
}

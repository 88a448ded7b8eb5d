//! A limit on requests of callers who are not known, in a fixed amount of memory.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets; addresses share them by their hash, so that no flood makes more.
const BUCKETS: usize = 1024;

/// How many refusals one address gets before it is told to wait.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// At once.
    pub burst: u32,
    /// In a second, afterwards.
    pub per_second: u32,
}

impl Default for Allowance {
    /// 60 at once, then 10 in a second.
    fn default() -> Self {
        Self {
            burst: 60,
            per_second: 10,
        }
    }
}

pub(crate) struct Flood {
    allowance: Allowance,
    /// Thousandths of a request that are left, and when that was so.
    buckets: Mutex<Vec<(u64, Instant)>>,
}

impl Flood {
    pub(crate) fn new(allowance: Allowance) -> Self {
        let full = u64::from(allowance.burst) * 1000;
        Self {
            allowance,
            buckets: Mutex::new(vec![(full, Instant::now()); BUCKETS]),
        }
    }

    /// Takes one. `Err`: how long to wait.
    pub(crate) fn take(&self, from: IpAddr) -> Result<(), Duration> {
        let full = u64::from(self.allowance.burst) * 1000;
        let rate = u64::from(self.allowance.per_second.max(1));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((left, at)) = buckets.get_mut(place(from)) else {
            return Ok(());
        };
        let passed = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        *left = left.saturating_add(passed.saturating_mul(rate)).min(full);
        *at = Instant::now();
        match left.checked_sub(1000) {
            Some(rest) => {
                *left = rest;
                Ok(())
            }
            None => Err(Duration::from_secs(1)),
        }
    }
}

/// Neighbours of one network (64 bits of IPv6) share a bucket.
fn place(from: IpAddr) -> usize {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    match from {
        IpAddr::V4(address) => address.hash(&mut hasher),
        IpAddr::V6(address) => address.segments()[..4].hash(&mut hasher),
    }
    usize::try_from(hasher.finish() % BUCKETS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn one_address_is_told_to_wait_and_another_is_not() {
        let flood = Flood::new(Allowance {
            burst: 3,
            per_second: 1,
        });
        let [one, two] = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
        let taken = (0..10).filter(|_| flood.take(one).is_ok()).count();
        assert_eq!(taken, 3);
        assert!(flood.take(two).is_ok());
    }
}

//! How much may be asked of one upstream at once, and how much may be made there in a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{Error, Kind, Reach};

/// Who waits for whom where there is more to ask than may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for the answer.
    #[default]
    Interactive,
    /// Nobody waits: clean-up.
    Background,
}

/// The limits of one upstream, shared by everything that asks it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Throttle {
    /// `None`: any number at once.
    gate: Option<Arc<Gate>>,
    budget: Option<Arc<Budget>>,
    priority: Priority,
}

impl Throttle {
    /// At most so many requests at once.
    pub fn at_once(requests: usize) -> Self {
        Self {
            gate: Some(Arc::new(Gate::new(requests.max(1)))),
            ..Self::default()
        }
    }

    /// And at most so many writes in a minute and in an hour. GitHub counts 80 and 500 as "content creation" (docs.github.com,
    /// rate limits of the REST API, seen 2026-11).
    #[must_use]
    pub fn with_budget(self, per_minute: usize, per_hour: usize) -> Self {
        Self {
            budget: Some(Arc::new(Budget {
                windows: [
                    (Duration::from_secs(60), per_minute),
                    (Duration::from_secs(60 * 60), per_hour),
                ],
                made: Mutex::default(),
            })),
            ..self
        }
    }

    /// The same limits for requests of another priority.
    #[must_use]
    pub fn with_priority(&self, priority: Priority) -> Self {
        Self {
            priority,
            ..self.clone()
        }
    }

    /// Waits for a place. Hold the answer as long as the request lasts.
    ///
    /// # Errors
    /// The budget for writes is used up; nothing was sent, and the error says when there is some again.
    pub async fn enter(
        &self,
        system: &'static str,
        operation: &str,
        writes: bool,
    ) -> Result<Place, Error> {
        if let Some(budget) = self.budget.as_ref().filter(|_| writes) {
            budget.spend(self.priority).map_err(|wait| {
                let message = "the budget for writes to this upstream is used up; see FORGELINE_GITHUB_WRITES_PER_MINUTE";
                Error {
                    retry_after: Some(wait),
                    ..Error::new(system, operation, Kind::Unavailable, Reach::NotSent, message)
                }
            })?;
        }
        match &self.gate {
            Some(gate) => Ok(Place {
                _held: Some(Gate::enter(gate, self.priority).await),
            }),
            None => Ok(Place { _held: None }),
        }
    }
}

/// A request's place among those under way; given back when dropped.
#[derive(Debug)]
#[must_use]
pub struct Place {
    _held: Option<Held>,
}

/// So many at once. Whoever waits is let in first come, first served; of four places that become free while both
/// priorities wait, the background gets one.
#[derive(Debug)]
struct Gate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    interactive: VecDeque<oneshot::Sender<Held>>,
    background: VecDeque<oneshot::Sender<Held>>,
    /// Interactive ones that were let in since the last background one, while one waited.
    in_a_row: usize,
}

/// A place that was given; giving it back lets the next one in.
#[derive(Debug)]
struct Held(Option<Arc<Gate>>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            Gate::give_back(&gate);
        }
    }
}

impl Gate {
    fn new(free: usize) -> Self {
        Self {
            state: Mutex::new(State {
                free,
                interactive: VecDeque::new(),
                background: VecDeque::new(),
                in_a_row: 0,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn enter(gate: &Arc<Self>, priority: Priority) -> Held {
        let waiting = {
            let mut state = gate.state();
            if state.free > 0 {
                state.free -= 1;
                return Held(Some(Arc::clone(gate)));
            }
            let (sender, receiver) = oneshot::channel();
            match priority {
                Priority::Interactive => state.interactive.push_back(sender),
                Priority::Background => state.background.push_back(sender),
            }
            receiver
        };
        match waiting.await {
            Ok(held) => held,
            // A sender is only ever dropped with the whole gate.
            Err(_) => Held(None),
        }
    }

    fn give_back(gate: &Arc<Self>) {
        loop {
            let mut state = gate.state();
            let Some(next) = state.next() else {
                state.free += 1;
                return;
            };
            drop(state);
            match next.send(Held(Some(Arc::clone(gate)))) {
                Ok(()) => return,
                // It no longer waits; its place goes on to the next one.
                Err(mut held) => drop(held.0.take()),
            }
        }
    }
}

impl State {
    fn next(&mut self) -> Option<oneshot::Sender<Held>> {
        let turn_of_background = self.in_a_row >= 3 || self.interactive.is_empty();
        if turn_of_background && let Some(next) = self.background.pop_front() {
            self.in_a_row = 0;
            return Some(next);
        }
        let next = self.interactive.pop_front();
        if next.is_some() && !self.background.is_empty() {
            self.in_a_row += 1;
        }
        next
    }
}

/// So many in each time, counted backwards from now.
#[derive(Debug)]
struct Budget {
    windows: [(Duration, usize); 2],
    /// When each was made, oldest first; none older than the longest window.
    made: Mutex<VecDeque<Instant>>,
}

impl Budget {
    /// Counts one; the error is how long to wait until there is room. The background leaves a quarter to whoever waits.
    fn spend(&self, priority: Priority) -> Result<(), Duration> {
        let now = Instant::now();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = self.windows[1].0;
        while made
            .front()
            .is_some_and(|at| now.duration_since(*at) >= longest)
        {
            made.pop_front();
        }
        for (window, most) in self.windows {
            let most = match priority {
                Priority::Interactive => most,
                Priority::Background => most - most.div_ceil(4).min(most.saturating_sub(1)),
            };
            let within = made.iter().filter(|at| now.duration_since(**at) < window);
            let within: Vec<&Instant> = within.collect();
            if within.len() >= most {
                let first = within.get(within.len() - most);
                let passed = first.map_or(Duration::ZERO, |at| now.duration_since(**at));
                return Err(window.saturating_sub(passed));
            }
        }
        made.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn enter(throttle: &Throttle) -> Place {
        throttle.enter("github", "look", false).await.unwrap()
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_under_way_and_a_caller_that_goes_away_loses_no_place() {
        let throttle = Throttle::at_once(2);
        let (first, _second) = (enter(&throttle).await, enter(&throttle).await);
        let mut gone = Box::pin(enter(&throttle));
        assert!(futures::poll!(&mut gone).is_pending());
        drop(gone);
        let mut third = Box::pin(enter(&throttle));
        assert!(futures::poll!(&mut third).is_pending());
        drop(first);
        assert!(futures::poll!(&mut third).is_ready());
    }

    #[tokio::test]
    async fn the_background_gets_one_place_of_four_and_none_is_lost() {
        let throttle = Throttle::at_once(1);
        let background = throttle.with_priority(Priority::Background);
        let mut held = Some(enter(&throttle).await);
        let mut waiting = Vec::new();
        for index in 0..8 {
            let from = if index < 4 { &background } else { &throttle };
            let mut place = Box::pin(enter(from));
            assert!(futures::poll!(&mut place).is_pending());
            waiting.push((index < 4, place));
        }
        let mut order = String::new();
        while !waiting.is_empty() {
            drop(held.take());
            let mut next = None;
            for (index, (_, place)) in waiting.iter_mut().enumerate() {
                if let std::task::Poll::Ready(place) = futures::poll!(place) {
                    next = Some((index, place));
                    break;
                }
            }
            let (index, place) = next.unwrap();
            order.push(if waiting.remove(index).0 { 'b' } else { 'i' });
            held = Some(place);
        }
        assert_eq!(order, "iiibibbb");
    }

    #[tokio::test(start_paused = true)]
    async fn the_background_leaves_a_part_of_the_budget_to_whoever_waits() {
        let interactive = Throttle::default().with_budget(8, 100);
        let background = interactive.with_priority(Priority::Background);
        for _ in 0..6 {
            drop(background.enter("github", "delete", true).await.unwrap());
        }
        let refused = background.enter("github", "delete", true).await;
        assert!(refused.unwrap_err().retry_after.is_some());
        for _ in 0..2 {
            drop(interactive.enter("github", "create", true).await.unwrap());
        }
        assert!(interactive.enter("github", "create", true).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_says_when_there_is_room_again() {
        let throttle = Throttle::default().with_budget(2, 3);
        let write = async || throttle.enter("github", "create", true).await;
        drop((write().await.unwrap(), write().await.unwrap()));
        let refused = write().await.unwrap_err();
        assert_eq!(refused.reach, Reach::NotSent);
        assert_eq!(refused.retry_after, Some(Duration::from_secs(60)));
        // Looking costs nothing.
        drop(throttle.enter("github", "look", false).await.unwrap());
        tokio::time::advance(Duration::from_secs(60)).await;
        drop(write().await.unwrap());
        let hour = write().await.unwrap_err().retry_after.unwrap();
        assert_eq!(hour, Duration::from_secs(59 * 60));
    }
}

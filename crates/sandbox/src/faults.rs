//! Faults to order: per system and operation, at the n-th matching request, each with a counter of its firings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The request waits before it is handled.
    Delay {
        /// How long, in milliseconds.
        ms: u64,
    },
    /// Answers this status without any effect.
    StatusBefore {
        /// The status.
        status: u16,
        /// Headers of the answer, for example `retry-after`.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body; empty when it is not given.
        #[serde(default)]
        body: String,
    },
    /// The effect happens, then this status is answered.
    StatusAfter {
        /// The status.
        status: u16,
    },
    /// The connection breaks before the effect.
    LostBefore,
    /// The effect happens, then the connection breaks.
    LostAfter,
    /// No answer ever comes, and no effect.
    Hang,
    /// The effect happens, and no answer ever comes.
    HangAfter,
    /// The effect happens this much later, also when the client has gone away meanwhile.
    Late {
        /// How much later, in milliseconds.
        ms: u64,
    },
    /// The effect happens, then this body is answered with status 200.
    Body {
        /// The body.
        text: String,
    },
    /// This body is answered with status 200, without any effect. `$id` in it becomes the id of the JSON-RPC request.
    BodyBefore {
        /// The body.
        text: String,
    },
    /// The system goes down at this request: its connection breaks without effect, and for a while new ones are refused.
    Down {
        /// How long, in milliseconds.
        ms: u64,
    },
    /// Somebody else acts right before the request is handled: a seed as `POST /_sandbox/seed` takes it.
    Meanwhile {
        /// The seed.
        seed: Value,
    },
}

/// A fault and the request that it hits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultOrder {
    /// `gitea_mcp`, `gitea`, `github` or `kubernetes`.
    pub system: String,
    /// As the request log names it, for example `POST /user/repos` or `tools/call create_repo`; `*` for any.
    pub operation: String,
    /// The matching request that is hit, counted from 1; 0 hits every one.
    #[serde(default = "first")]
    pub nth: usize,
    /// What goes wrong.
    pub fault: Fault,
}

fn first() -> usize {
    1
}

/// The orders, and how often each matched and fired.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    orders: Vec<(FaultOrder, usize, usize)>,
}

impl Faults {
    pub(crate) fn order(&mut self, order: FaultOrder) {
        self.orders.push((order, 0, 0));
    }

    pub(crate) fn clear(&mut self) {
        self.orders.clear();
    }

    /// The fault that hits this request, if any.
    pub(crate) fn take(&mut self, system: &str, operation: &str) -> Option<Fault> {
        let mut hit = None;
        for (order, matched, fired) in &mut self.orders {
            if order.system != system || (order.operation != operation && order.operation != "*") {
                continue;
            }
            *matched += 1;
            if hit.is_none() && (order.nth == 0 || order.nth == *matched) {
                *fired += 1;
                hit = Some(order.fault.clone());
            }
        }
        hit
    }

    pub(crate) fn view(&self) -> Value {
        let view = |(order, matched, fired): &(FaultOrder, usize, usize)| {
            let mut view = serde_json::to_value(order).unwrap_or_default();
            view["matched"] = (*matched).into();
            view["fired"] = (*fired).into();
            view
        };
        self.orders.iter().map(view).collect()
    }
}

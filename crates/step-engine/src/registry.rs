//! The kinds of steps that workflow files may name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::step::Step;

/// A field of a kind's `with`.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Whether a workflow must give it.
    pub required: bool,
    /// For people: what it is and its unit or default.
    pub description: &'static str,
}

impl Field {
    /// A field that must be given.
    pub const fn required(name: &'static str, description: &'static str) -> Self {
        Self {
            name,
            required: true,
            description,
        }
    }

    /// A field that may be left out.
    pub const fn optional(name: &'static str, description: &'static str) -> Self {
        Self {
            name,
            required: false,
            description,
        }
    }
}

/// What a workflow file must know of a kind.
#[derive(Clone, Copy, Debug)]
pub struct KindSpec {
    /// For example `gitea.repository`. Stored in journals: never change one.
    pub name: &'static str,
    /// What exists after it.
    pub description: &'static str,
    /// The fields of `with`.
    pub with: &'static [Field],
    /// The fields of its output. Every output also has `origin`: `created`, `existing` or `adopted`.
    pub outputs: &'static [&'static str],
}

struct Kind {
    spec: KindSpec,
    step: Arc<dyn Step>,
}

/// Kind name to kind.
#[derive(Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Kind>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind; a later one of the same name replaces it.
    pub fn register(&mut self, spec: KindSpec, step: Arc<dyn Step>) {
        self.kinds.insert(spec.name, Kind { spec, step });
    }

    /// What a kind looks like to a workflow file.
    pub fn spec(&self, kind: &str) -> Option<&KindSpec> {
        self.kinds.get(kind).map(|kind| &kind.spec)
    }

    /// The step of a kind.
    pub fn step(&self, kind: &str) -> Option<Arc<dyn Step>> {
        self.kinds.get(kind).map(|kind| Arc::clone(&kind.step))
    }

    /// All kind names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.kinds.keys().copied()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}

//! YAML as a tree in which every part knows its line.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{MergeKeyPolicy, Spanned, UserMessageFormatter};

/// A part of a YAML text.
#[derive(Debug)]
pub(super) struct Node {
    /// Counted from 1.
    pub(super) line: usize,
    tree: Tree,
}

#[derive(Debug)]
enum Tree {
    Scalar(Value),
    Items(Vec<Node>),
    Fields(Vec<(String, Node)>),
}

impl Node {
    /// Reads a text; the error is a line and a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, String)> {
        let options = serde_saphyr::options! {
            with_snippet: false,
            strict_booleans: true,
            merge_keys: MergeKeyPolicy::Error,
        };
        let root: Spanned<Raw> =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| {
                let line = error
                    .location()
                    .map_or(1, |at| usize::try_from(at.line()).unwrap_or(1));
                (
                    line,
                    format!(
                        "not valid YAML: {}",
                        error.render_with_formatter(&UserMessageFormatter)
                    ),
                )
            })?;
        let root = Self::from(root);
        match root.tree {
            Tree::Fields(_) => Ok(root),
            Tree::Scalar(_) | Tree::Items(_) => Err((
                1,
                "a workflow file is a map with name, inputs and steps".into(),
            )),
        }
    }

    /// A field of a map; `None` where there is none.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        match &self.tree {
            Tree::Fields(fields) => fields
                .iter()
                .find(|(field, _)| field == name)
                .map(|(_, node)| node),
            Tree::Scalar(_) | Tree::Items(_) => None,
        }
    }

    /// The fields of a map; empty for anything else.
    pub(super) fn fields(&self) -> Vec<(&str, &Node)> {
        match &self.tree {
            Tree::Fields(fields) => fields
                .iter()
                .map(|(name, node)| (name.as_str(), node))
                .collect(),
            Tree::Scalar(_) | Tree::Items(_) => Vec::new(),
        }
    }

    /// The items of a list; empty for anything else.
    pub(super) fn items(&self) -> &[Node] {
        match &self.tree {
            Tree::Items(items) => items,
            Tree::Scalar(_) | Tree::Fields(_) => &[],
        }
    }

    /// It is a map.
    pub(super) fn is_map(&self) -> bool {
        matches!(self.tree, Tree::Fields(_))
    }

    /// It is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.tree, Tree::Items(_))
    }

    /// The part without its lines.
    pub(super) fn to_value(&self) -> Value {
        match &self.tree {
            Tree::Scalar(value) => value.clone(),
            Tree::Items(items) => items.iter().map(Node::to_value).collect(),
            Tree::Fields(fields) => fields
                .iter()
                .map(|(name, node)| (name.clone(), node.to_value()))
                .collect(),
        }
    }
}

enum Raw {
    Scalar(Value),
    Items(Vec<Spanned<Raw>>),
    Fields(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl From<Spanned<Raw>> for Node {
    fn from(spanned: Spanned<Raw>) -> Self {
        let line = usize::try_from(spanned.referenced.line()).unwrap_or(0);
        match spanned.value {
            Raw::Scalar(value) => Self {
                line,
                tree: Tree::Scalar(value),
            },
            Raw::Items(items) => Self {
                line,
                tree: Tree::Items(items.into_iter().map(Self::from).collect()),
            },
            Raw::Fields(fields) => {
                // A field stands where its key stands: that is where a reader looks.
                let field = |(name, value): (Spanned<String>, Spanned<Raw>)| {
                    let mut node = Self::from(value);
                    node.line = usize::try_from(name.referenced.line()).unwrap_or(node.line);
                    (name.value, node)
                };
                Self {
                    line,
                    tree: Tree::Fields(fields.into_iter().map(field).collect()),
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::Items(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Raw::Fields(fields))
    }
}

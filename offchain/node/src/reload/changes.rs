//! Which settings differ between two configurations, and how that is told.
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use url::Url;

use crate::config::toml_value;

/// A setting with another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Full name.
    pub setting: String,
    /// As it was, in TOML; `unset` if it was not there.
    pub old: String,
    /// As the file says.
    pub new: String,
}

/// Settings by their full names. Secrets are empty in `shown`, which may be told, and as they are in `written`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    shown: BTreeMap<String, Value>,
    written: BTreeMap<String, Value>,
}

impl Settings {
    pub(super) fn new(shown: &Value, written: &Value) -> Self {
        let mut settings = Self::default();
        flatten(shown, "", &mut settings.shown);
        flatten(written, "", &mut settings.written);
        settings
    }

    /// What differs from `newer`.
    pub(super) fn changes(&self, newer: &Self) -> Vec<Change> {
        let names: BTreeSet<_> = self.shown.keys().chain(newer.shown.keys()).collect();
        let changed = names.into_iter().filter_map(|name| {
            let (old, new) = (self.shown.get(name), newer.shown.get(name));
            let (old_text, new_text) = (text(old), text(new));
            // A file may write one value in several ways; only of a secret is what was written all there is.
            let is_secret = is_empty(old) && is_empty(new) && self.written.get(name) != newer.written.get(name);
            match (old == new, is_secret) {
                (true, false) => None,
                (true, true) => Some((name, "(secret)".to_owned(), "(another secret)".to_owned())),
                (false, _) => Some((name, old_text, new_text)),
            }
        });
        changed.map(|(name, old, new)| Change { setting: name.clone(), old, new }).collect()
    }

    /// Takes `name` over from `newer`.
    pub(super) fn take_over(&mut self, name: &str, newer: &Self) {
        for (ours, theirs) in [(&mut self.shown, &newer.shown), (&mut self.written, &newer.written)] {
            match theirs.get(name) {
                Some(value) => drop(ours.insert(name.to_owned(), value.clone())),
                None => drop(ours.remove(name)),
            }
        }
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    value.is_some_and(|value| value == "")
}

/// Leaves by name. Lists are leaves; what is null is not set.
fn flatten(value: &Value, prefix: &str, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(value, &name, leaves);
            }
        }
        leaf => drop(leaves.insert(prefix.to_owned(), leaf.clone())),
    }
}

fn text(value: Option<&Value>) -> String {
    value.map_or_else(|| "unset".to_owned(), |value| toml_value(&without_credentials(value)))
}

/// URLs carry keys in user, path or query.
fn without_credentials(value: &Value) -> Value {
    match value {
        Value::String(text) => match Url::parse(text) {
            Ok(url) if url.has_host() && is_telling(&url) => {
                let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
                Value::String(format!("{}://{}{port}/…", url.scheme(), url.host_str().unwrap_or_default()))
            }
            _ => value.clone(),
        },
        Value::Array(items) => Value::Array(items.iter().map(without_credentials).collect()),
        other => other.clone(),
    }
}

fn is_telling(url: &Url) -> bool {
    !matches!(url.path(), "" | "/") || url.query().is_some() || !url.username().is_empty() || url.password().is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changes(old: (Value, Value), new: (Value, Value)) -> Vec<Change> {
        Settings::new(&old.0, &old.1).changes(&Settings::new(&new.0, &new.1))
    }

    fn told(setting: &str, old: &str, new: &str) -> Change {
        Change { setting: setting.to_owned(), old: old.to_owned(), new: new.to_owned() }
    }

    #[test]
    fn a_changed_leaf_is_told_with_both_values_and_the_same_value_in_other_words_is_not() {
        let old = (json!({ "a": { "wait": "5s", "wei": "0xa", "list": [1] } }), json!({ "a": { "wait": "5s" } }));
        let new = (json!({ "a": { "wait": "5s", "wei": "0xb", "cap": 3 } }), json!({ "a": { "wait": "5000ms" } }));
        let expected =
            vec![told("a.cap", "unset", "3"), told("a.list", "[1]", "unset"), told("a.wei", "\"10\"", "\"11\"")];
        assert_eq!(changes(old, new), expected);
    }

    #[test]
    fn a_changed_secret_is_told_without_it() {
        let shown = json!({ "a": { "secret": "", "url": "https://rpc.example/" } });
        let written = |secret: &str| json!({ "a": { "secret": secret } });
        let found = changes((shown.clone(), written("swordfish")), (shown, written("mackerel")));
        assert_eq!(found, [told("a.secret", "(secret)", "(another secret)")]);
        let url = |text: &str| (json!({ "url": text }), json!({}));
        let found = changes(url("https://rpc.example:1/v2/key"), url("https://u:p@rpc.example/"));
        assert_eq!(found, [told("url", "\"https://rpc.example:1/…\"", "\"https://rpc.example/…\"")]);
    }
}

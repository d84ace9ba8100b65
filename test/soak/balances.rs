//! Both sides' books of the sessions that are alive, against each other.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::{Value, json};

use crate::site::Site;

/// What was compared.
#[derive(Debug)]
pub(crate) struct Compared {
    equal: usize,
    forgotten: usize,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { equal, forgotten } = self;
        write!(f, "{equal} balances equal on both sides, {forgotten} of sessions not used since a kill")
    }
}

/// Every credit in the broadcaster's book is in the orchestrator's to the last fraction of a wei. One may be missing there only
/// if the orchestrator was killed while it had it, and the broadcaster has had no reason to ask since: the next segment would be
/// refused, and begin a new session.
pub(crate) async fn compare(broadcaster: &Value, sites: &[Site]) -> Compared {
    let (mut equal, mut forgotten, mut differing) = (0, 0, Vec::new());
    for site in sites {
        let status = site.status().await.expect("the orchestrator does not answer");
        for found in held_against(broadcaster, &status, &site.account.to_string(), &site.forgotten) {
            match found {
                Found::Equal => equal += 1,
                Found::Forgotten => forgotten += 1,
                Found::Differs(what) => differing.push(what),
            }
        }
    }
    assert!(differing.is_empty(), "the books differ:\n{}", differing.join("\n"));
    assert!(equal > 0, "no session is alive on both sides: nothing was compared\n{broadcaster:#}");
    Compared { equal, forgotten }
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Equal,
    Forgotten,
    Differs(String),
}

/// The broadcaster's book of one orchestrator, against that one's own.
fn held_against(ours: &Value, theirs: &Value, account: &str, forgotten: &BTreeSet<String>) -> Vec<Found> {
    let list = |document: &Value| document["balances"].as_array().unwrap().clone();
    let text = |held: &Value, field: &str| held[field].as_str().unwrap().to_owned();
    let theirs: BTreeMap<_, _> =
        list(theirs).iter().map(|held| (text(held, "session"), text(held, "balance"))).collect();
    let mine = list(ours).into_iter().filter(|held| text(held, "orchestrator").eq_ignore_ascii_case(account));
    mine.map(|held| {
        let (session, balance) = (text(&held, "session"), text(&held, "balance"));
        match theirs.get(&session) {
            Some(other) if *other == balance => Found::Equal,
            None if forgotten.contains(&session) => Found::Forgotten,
            other => Found::Differs(format!("{account} {session}: the broadcaster has {balance}, they {other:?}")),
        }
    })
    .collect()
}

#[test]
fn the_least_difference_between_two_books_is_seen() {
    let ours = |balance: &str| json!({ "balances": [{ "orchestrator": "0xAb", "session": "s", "balance": balance }] });
    let theirs = json!({ "balances": [{ "sender": "0x1", "session": "s", "balance": "125/7" }] });
    let (none, killed) = (BTreeSet::new(), BTreeSet::from(["s".to_owned()]));
    assert_eq!(held_against(&ours("125/7"), &theirs, "0xaB", &none), [Found::Equal]);
    assert_eq!(held_against(&ours("125/7"), &theirs, "0xcd", &none), []);
    for (balance, known, forgotten) in [("126/7", &theirs, &killed), ("125/7", &json!({ "balances": [] }), &none)] {
        let found = held_against(&ours(balance), known, "0xab", forgotten);
        assert!(matches!(found.as_slice(), [Found::Differs(_)]), "{found:?}");
    }
    assert_eq!(held_against(&ours("1"), &json!({ "balances": [] }), "0xab", &killed), [Found::Forgotten]);
}

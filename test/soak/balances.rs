//! Both sides' books of the sessions that are alive, against each other.
use std::{collections::BTreeMap, fmt};

use serde_json::Value;

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
    let (mut equal, mut forgotten) = (0, 0);
    let mut differing = Vec::new();
    let text = |held: &Value, field: &str| held[field].as_str().unwrap().to_owned();
    for site in sites {
        let status = site.status().await.expect("the orchestrator does not answer");
        let list = |document: &Value| document["balances"].as_array().unwrap().clone();
        let theirs: BTreeMap<_, _> =
            list(&status).iter().map(|held| (text(held, "session"), text(held, "balance"))).collect();
        let account = format!("{:?}", site.account);
        for ours in list(broadcaster).iter().filter(|held| text(held, "orchestrator").eq_ignore_ascii_case(&account)) {
            let (session, balance) = (text(ours, "session"), text(ours, "balance"));
            match theirs.get(&session) {
                Some(held) if *held == balance => equal += 1,
                None if site.forgotten.contains(&session) => forgotten += 1,
                held => differing.push(format!("{account} {session}: we have {balance}, they have {held:?}")),
            }
        }
    }
    assert!(differing.is_empty(), "the books differ:\n{}", differing.join("\n"));
    assert!(equal > 0, "no session is alive on both sides: nothing was compared\n{broadcaster:#}");
    Compared { equal, forgotten }
}

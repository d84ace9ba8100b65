//! Every refusal of an orchestrator, provoked at a running node: code, both figures, setting and advice (docs/refusals.md).
//!
//! The one test runs through all of them, so that it can see which codes nobody provoked.
use std::collections::BTreeSet;

use streamflow_wire::{Code, Refusal, refusal::Side};

use crate::{checks::Case, fixture::Draft};

mod discovery;
mod jobs;
mod leaks;
mod limits;
mod money;
mod pool;
pub(crate) mod results;
mod segment;

/// Whose tests are beside the code: they need the store's clock to run for minutes.
const ELSEWHERE: [Code; 1] = [Code::StoreSilent];

#[tokio::test]
async fn every_code_is_provoked_and_has_its_figures_and_advice() {
    let mut met = BTreeSet::from(ELSEWHERE);
    met.extend(segment::provoke().await);
    met.extend(money::provoke().await);
    met.extend(discovery::provoke().await);
    met.extend(results::provoke().await);
    met.extend(pool::provoke().await);
    met.extend(limits::provoke().await);
    met.extend(jobs::provoke().await);
    let ours = Code::ALL.iter().filter(|code| code.side() != Side::Broadcaster);
    let missing: Vec<_> = ours.filter(|code| !met.contains(code)).collect();
    assert!(missing.is_empty(), "codes that no test provokes: {missing:?}");
}

/// The refusal is of this code, with these figures, and with the setting and advice of the page.
#[track_caller]
fn expect(refusal: Option<Refusal>, code: Code, got: &str, limit: &str) -> Code {
    let refusal = refusal.unwrap_or_else(|| panic!("no {code} came"));
    let figures = (refusal.code, refusal.got.as_str(), refusal.limit.as_str());
    assert_eq!(figures, (code, got, limit));
    assert_eq!((refusal.setting.as_ref(), refusal.advice.as_ref()), (code.setting(), code.advice()), "{code}");
    code
}

/// What the header of an answer says.
fn of_response(response: &reqwest::Response) -> Option<Refusal> {
    Refusal::from_header(response.headers().get(streamflow_wire::refusal::HEADER)?.to_str().ok()?)
}

impl Case {
    /// Sends a request that is refused, and returns the refusal in its header.
    async fn refusal(&self, draft: &Draft, body: impl Into<reqwest::Body>) -> Option<Refusal> {
        let response = self.broadcaster.start(draft, body).await;
        assert!(!response.status().is_success(), "the request was taken");
        of_response(&response)
    }
}

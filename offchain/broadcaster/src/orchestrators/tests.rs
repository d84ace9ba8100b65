use std::collections::HashSet;

use alloy_primitives::B256;

use super::*;
use crate::{client::CallError, discovery::DiscoveryConfig};

const SEGMENT: Duration = Duration::from_secs(2);
const QUICK: Duration = Duration::from_millis(200);

fn url(port: u16) -> Url {
    format!("https://127.0.0.1:{port}").parse().unwrap()
}

fn rules() -> Rules {
    Rules { shortlist: 32, probe_interval: Duration::from_secs(60), ..Rules::default() }
}

fn book(rules: Rules, candidates: &[Candidate]) -> (Orchestrators, Instant) {
    let (orchestrators, now) = (Orchestrators::new(rules), Instant::now());
    orchestrators.update(candidates, now);
    (orchestrators, now)
}

fn three() -> (Orchestrators, Instant) {
    book(rules(), &[1, 2, 3].map(|port| Candidate::own(url(port))))
}

fn market(ports: std::ops::Range<u16>) -> Vec<Candidate> {
    ports.map(|port| Candidate::of_market(url(port), Some(Address::with_last_byte(port as u8)))).collect()
}

fn broken() -> AttemptError {
    CallError::HeaderTimeout(Duration::from_secs(2)).into()
}

fn busy() -> AttemptError {
    AttemptError::Orchestrator("OrchestratorBusy".to_owned())
}

fn offer(price: u64) -> Offer {
    Offer {
        service_uri: String::new(),
        params: None,
        price: Price::new(price, 1).ok(),
        address: Address::ZERO,
        capabilities: None,
        auth_token: None,
        storage: Vec::new(),
        nodes: Vec::new(),
        stream_version: 0,
    }
}

fn next(orchestrators: &Orchestrators, affinity: &Affinity, tried: &[Url], now: Instant) -> Turn {
    orchestrators.choose(Ask { affinity, segment: SEGMENT, tried, now }).unwrap()
}

/// A segment of a stream of its own.
fn alone(orchestrators: &Orchestrators, now: Instant) -> Turn {
    next(orchestrators, &Affinity::default(), &[], now)
}

fn port(turn: &Turn) -> u16 {
    turn.candidate.url.port().unwrap()
}

fn session(orchestrators: &Orchestrators, port: u16, now: Instant) -> SessionStatus {
    orchestrators.status(now).into_iter().find(|session| session.url == url(port)).unwrap()
}

#[test]
fn streams_are_spread_over_our_own() {
    let (orchestrators, now) = three();
    let turns: Vec<Turn> = (0..3).map(|_| alone(&orchestrators, now)).collect();
    let mut ports: Vec<u16> = turns.iter().map(port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [1, 2, 3]);
}

#[test]
fn a_faster_orchestrator_gets_more_streams_and_a_slower_one_some() {
    let (orchestrators, now) = three();
    let mut done = [0; 4];
    for _ in 0..70 {
        let turn = alone(&orchestrators, now);
        done[usize::from(port(&turn))] += 1;
        turn.succeeded(Duration::from_millis(100 * u64::from(port(&turn))), now);
    }
    assert!(done[1] > done[2] && done[2] > done[3] && done[3] >= 10, "{done:?}");
}

#[test]
fn a_stream_keeps_its_orchestrator_over_one_slow_segment_and_leaves_it_after_several() {
    let (orchestrators, now) = three();
    let stream = Affinity::default();
    let work = |took: Duration| {
        let turn = next(&orchestrators, &stream, &[], now);
        turn.succeeded(took, now);
        port(&turn)
    };
    let first = work(QUICK);
    assert!((0..20).all(|_| work(QUICK) == first));
    work(SEGMENT * 4);
    assert!((0..20).all(|_| work(QUICK) == first), "one slow segment is no reason");
    assert_eq!(stream.swaps(), 0);
    let left = (0..8).position(|_| work(SEGMENT * 4) != first).unwrap();
    assert_eq!(left, 3, "slow segments until it is left");
    assert_eq!(stream.swaps(), 1);
}

#[test]
fn a_second_candidate_for_a_segment_is_another_and_the_stream_stays() {
    let (orchestrators, now) = three();
    let stream = Affinity::default();
    let first = next(&orchestrators, &stream, &[], now);
    let second = next(&orchestrators, &stream, std::slice::from_ref(&first.candidate.url), now);
    assert_ne!(port(&first), port(&second));
    second.succeeded(QUICK, now);
    assert_eq!(stream.home().as_ref(), Some(&first.candidate.url));
}

#[test]
fn a_stream_goes_over_to_whoever_did_what_its_own_failed_at() {
    let (orchestrators, now) = three();
    let stream = Affinity::default();
    let first = next(&orchestrators, &stream, &[], now);
    first.failed(&broken(), now);
    let second = next(&orchestrators, &stream, std::slice::from_ref(&first.candidate.url), now);
    second.succeeded(QUICK, now);
    assert_eq!((stream.home().as_ref(), stream.swaps()), (Some(&second.candidate.url), 1));
}

#[test]
fn a_suspended_one_is_not_chosen_until_its_time_is_over() {
    let (orchestrators, now) = three();
    let turn = alone(&orchestrators, now);
    turn.failed(&broken(), now);
    let suspended = port(&turn);
    drop(turn);
    for _ in 0..9 {
        assert_ne!(port(&alone(&orchestrators, now + Duration::from_millis(1999))), suspended);
    }
    let after = session(&orchestrators, suspended, now);
    assert_eq!((after.suspended_ms, after.failures, after.code), (2000, 1, "suspended"));
    let later = now + Duration::from_secs(2);
    let turns: Vec<Turn> = (0..3).map(|_| alone(&orchestrators, later)).collect();
    assert!(turns.iter().any(|turn| port(turn) == suspended));
}

#[test]
fn a_suspended_one_is_better_than_none() {
    let (orchestrators, now) = book(rules(), &[Candidate::own(url(1))]);
    alone(&orchestrators, now).failed(&broken(), now);
    assert_eq!(port(&next(&orchestrators, &Affinity::default(), &[url(1)], now)), 1);
}

#[test]
fn busy_is_no_fault() {
    let (orchestrators, now) = book(rules(), &[Candidate::own(url(1)), Candidate::own(url(2))]);
    let turn = alone(&orchestrators, now);
    turn.failed(&busy(), now);
    let (full, known) = (port(&turn), session(&orchestrators, port(&turn), now));
    assert_eq!((known.failures, known.suspended_ms, known.code), (0, 500, "busy"));
    drop(turn);
    assert_ne!(port(&alone(&orchestrators, now)), full);
}

#[test]
fn one_that_failed_at_this_segment_is_tried_last() {
    let (orchestrators, now) = three();
    for _ in 0..9 {
        assert_eq!(port(&next(&orchestrators, &Affinity::default(), &[url(1), url(3)], now)), 2);
    }
}

#[test]
fn a_returning_one_does_not_catch_up_on_all_it_missed() {
    let (orchestrators, now) = three();
    let turn = alone(&orchestrators, now);
    turn.failed(&broken(), now);
    let missed = port(&turn);
    drop(turn);
    for _ in 0..40 {
        alone(&orchestrators, now).succeeded(QUICK, now);
    }
    let later = now + Duration::from_secs(2);
    let after: Vec<u16> = (0..6)
        .map(|_| {
            let turn = alone(&orchestrators, later);
            turn.succeeded(QUICK, later);
            port(&turn)
        })
        .collect();
    assert!(after.iter().filter(|port| **port == missed).count() <= 3, "{after:?}");
}

#[test]
fn an_unlisted_one_is_not_chosen_and_an_empty_list_is_refused() {
    let (orchestrators, now) = three();
    orchestrators.update(&[], now);
    assert_eq!((orchestrators.len(now), orchestrators.refusal(now)), (0, Some(Refusal::NoOrchestrators)));
}

#[test]
fn own_orchestrators_overflow_to_the_market() {
    let mut both = market(10..12);
    both.push(Candidate::own(url(1)));
    let (orchestrators, now) = book(rules(), &both);
    let stream = Affinity::default();
    let own = next(&orchestrators, &stream, &[], now);
    assert_eq!(port(&own), 1);
    own.failed(&busy(), now);
    drop(own);
    assert!(port(&next(&orchestrators, &stream, &[], now)) >= 10, "it is full");
    let calm = now + Duration::from_secs(60);
    assert_eq!(port(&next(&orchestrators, &stream, &[], calm)), 1, "it was quiet long enough");
}

#[test]
fn of_a_long_list_only_the_shortlist_is_asked() {
    let (orchestrators, now) = book(rules(), &market(1..10_001));
    let asked: HashSet<Url> =
        (0..400).flat_map(|second| orchestrators.due(8, now + Duration::from_secs(second))).map(|c| c.url).collect();
    assert_eq!(asked.len(), 32);
    let status = orchestrators.status(now);
    assert_eq!((status.len(), orchestrators.pool(now).listed), (32, 10_000));
}

#[test]
fn a_probe_comes_once_in_an_interval_with_jitter() {
    let (orchestrators, now) = book(rules(), &market(1..4));
    assert_eq!(orchestrators.due(8, now).len(), 3);
    assert_eq!(orchestrators.due(8, now + Duration::from_secs(44)), []);
    assert_eq!(orchestrators.due(8, now + Duration::from_secs(76)).len(), 3);
}

#[test]
fn more_stake_is_likelier_to_get_a_place() {
    let mut many = market(1..1001);
    many[500].stake = Some(U256::from(1_000_000));
    let (orchestrators, now) = book(rules(), &many);
    assert!(orchestrators.status(now).iter().any(|session| session.url == url(501)));
}

#[test]
fn who_is_too_dear_makes_room_for_the_next_of_the_list() {
    let small = Rules { shortlist: 4, max_price: Price::new(1000, 1).ok(), ..rules() };
    let (orchestrators, now) = book(small, &market(1..101));
    let mut asked = HashSet::new();
    for _ in 0..10 {
        for candidate in orchestrators.due(8, now) {
            orchestrators.quoted(&candidate.url, None, &offer(1200), now);
            asked.insert(candidate.url);
        }
    }
    assert!(asked.len() >= 20, "{}", asked.len());
    assert!(orchestrators.status(now).len() <= 12, "{}", orchestrators.status(now).len());
}

#[test]
fn the_dead_of_a_long_list_make_room_for_the_living() {
    let (orchestrators, mut now) = book(rules(), &market(1..1001));
    let alive =
        |candidate: &Candidate| candidate.url.port_or_known_default().is_some_and(|port| port.is_multiple_of(50));
    let mut seconds = 0;
    while orchestrators.status(now).iter().filter(|session| session.code == "usable").count() < 5 {
        for candidate in orchestrators.due(8, now) {
            match alive(&candidate) {
                true => orchestrators.quoted(&candidate.url, None, &offer(1), now),
                false => orchestrators.no_quote(&candidate.url, &broken(), now),
            }
        }
        assert!(orchestrators.status(now).len() <= 64);
        (now, seconds) = (now + Duration::from_secs(1), seconds + 1);
        assert!(seconds < 300, "the living are not found");
    }
}

#[test]
fn a_refusal_counts_what_was_dropped_with_figures_and_settings() {
    let config = DiscoveryConfig { minimum_stake: U256::from(7), ..DiscoveryConfig::default() };
    let strict = Rules { filter: Filter::new(&config), max_price: Price::new(1000, 1).ok(), ..rules() };
    let mut listed = market(1..4);
    listed[2].stake = Some(U256::from(5));
    let (orchestrators, now) = book(strict, &listed);
    assert_eq!(orchestrators.refusal(now), None, "two have told no price yet");
    for port in [1, 2] {
        orchestrators.quoted(&url(port), None, &offer(1200), now);
    }
    let refused = orchestrators.choose(Ask { affinity: &Affinity::default(), segment: SEGMENT, tried: &[], now });
    let text = refused.unwrap_err().to_string();
    for part in [
        "No sessions available: none of 3 orchestrators may be used",
        "2 × price 1200/1 wei per pixel is more than the maximum 1000/1 wei per pixel (setting broadcaster.payment.max_price)",
        "1 × stake 5 LPT wei is below 7 (setting broadcaster.discovery.minimum_stake)",
        "`streamflow broadcaster explain`",
    ] {
        assert!(text.contains(part), "{text}");
    }
    orchestrators.quoted(&url(1), None, &offer(900), now);
    assert_eq!(orchestrators.refusal(now), None, "it is cheaper now");
}

#[test]
fn a_quote_tells_who_cannot_do_the_work() {
    let job = proto::Capabilities { bitstring: vec![1 | 1 << 16], ..Default::default() };
    let strict = Rules { job, min_version: Some("0.8.0".to_owned()), ..rules() };
    let (orchestrators, now) = book(strict, &market(1..4));
    let node = |bits: u64, version: &str| {
        let capabilities =
            proto::Capabilities { bitstring: vec![bits], version: version.to_owned(), ..Default::default() };
        Offer { capabilities: Some(capabilities), ..offer(1) }
    };
    orchestrators.quoted(&url(1), None, &node(1, "0.8.1"), now);
    orchestrators.quoted(&url(2), None, &node(1 | 1 << 16, "0.7.9"), now);
    orchestrators.quoted(&url(3), None, &node(1 | 1 << 16, "0.8.1-rc1"), now);
    let codes = [1, 2, 3].map(|port| session(&orchestrators, port, now).code);
    assert_eq!(codes, ["incapable", "version", "usable"]);
    assert!(session(&orchestrators, 1, now).why.contains("16"));
    assert!((0..20).all(|_| port(&alone(&orchestrators, now)) == 3));
}

#[test]
fn nobody_takes_the_place_of_another_by_publishing_its_uri() {
    let staked = |account: u8, stake: u64| Candidate {
        stake: Some(U256::from(stake)),
        ..Candidate::of_market(url(1), Some(Address::with_last_byte(account)))
    };
    for list in [[staked(1, 100), staked(2, 1)], [staked(2, 1), staked(1, 100)]] {
        let (orchestrators, now) = book(rules(), &list);
        assert_eq!(alone(&orchestrators, now).candidate.address, Some(Address::with_last_byte(1)));
    }
}

#[test]
fn further_instances_are_asked_one_level_deep_and_no_more_than_allowed() {
    let (orchestrators, now) = book(Rules { extra_nodes: 2, ..rules() }, &market(1..2));
    let names = |ports: &[u16]| Offer { nodes: ports.iter().map(|port| url(*port).to_string()).collect(), ..offer(1) };
    orchestrators.quoted(&url(1), None, &names(&[11, 12, 13]), now);
    orchestrators.quoted(&url(11), None, &names(&[21]), now);
    let mut urls: Vec<Url> = orchestrators.status(now).into_iter().map(|session| session.url).collect();
    urls.sort();
    assert_eq!(urls, [url(1), url(11), url(12)]);
    assert_eq!(orchestrators.book().records[1].candidate.address, Some(Address::with_last_byte(1)));
    orchestrators.quoted(&url(1), None, &names(&[14, 12, 15]), now);
    let mut urls: Vec<Url> = orchestrators.status(now).into_iter().map(|session| session.url).collect();
    urls.sort();
    assert_eq!(urls, [url(1), url(12), url(14)], "others in their place, and no more of them");
    orchestrators.update(&[], now);
    assert_eq!(orchestrators.len(now), 0, "they go with who named them");
}

#[test]
fn what_is_remembered_is_used_until_a_list_comes_and_not_for_ever() {
    let known: Vec<(Candidate, Remembered)> = market(1..4).into_iter().map(|c| (c, Remembered::default())).collect();
    let orchestrators = Orchestrators::new(rules());
    let now = Instant::now();
    orchestrators.remember(known.clone(), true, now);
    assert_eq!((orchestrators.len(now), orchestrators.due(8, now).len()), (3, 3));
    assert!((1..4).contains(&port(&alone(&orchestrators, now))));
    assert_eq!(orchestrators.len(now + REMEMBERED_FOR), 0);
    let named_only = Orchestrators::new(rules());
    named_only.remember(known, false, now);
    assert_eq!(named_only.len(now), 0);
}

#[test]
fn what_is_learnt_is_told_once_and_taken_over_by_the_next_run() {
    let (orchestrators, now) = book(rules(), &market(1..3));
    orchestrators.quoted(&url(1), None, &offer(5), now);
    for _ in 0..3 {
        next(&orchestrators, &Affinity::default(), &[url(2)], now).succeeded(QUICK, now);
    }
    let learnt = orchestrators.learnt();
    assert_eq!((learnt.len(), learnt[0].1.served, learnt[0].1.price), (1, 3, Price::new(5, 1).ok()));
    assert_eq!(orchestrators.learnt(), []);
    let again = Orchestrators::new(rules());
    again.remember(learnt.clone(), true, now);
    assert_eq!(session(&again, 1, now).price.as_deref(), Some("5/1"));
    again.update(&market(1..3), now);
    let book = again.book();
    assert!(book.records[0].success() > book.records[1].success());
}

#[test]
fn an_explanation_says_of_each_why_it_is_not_chosen() {
    let strict = Rules { max_price: Price::new(1000, 1).ok(), ..rules() };
    let mut listed = market(11..14);
    listed.push(Candidate::own(url(1)));
    let (orchestrators, now) = book(strict, &listed);
    orchestrators.quoted(&url(11), None, &offer(1200), now);
    orchestrators.no_quote(&url(12), &broken(), now);
    let stream = Affinity::default();
    next(&orchestrators, &stream, &[], now).succeeded(QUICK, now);
    let told = orchestrators.explain(&stream, Some(SEGMENT), now);
    assert_eq!((told.orchestrator, told.deadline_ms, told.swaps), (Some(url(1)), 2000, 0));
    let codes: Vec<(u16, &str)> = told.candidates.iter().map(|c| (c.url.port().unwrap(), c.code)).collect();
    assert_eq!(codes, [(1, "chosen"), (11, "price"), (12, "suspended"), (13, "has_home")]);
    let why = &told.candidates[2].why;
    assert!(why.starts_with("suspended, 2.0 s more, after: header timeout"), "{why}");
    let many = book(rules(), &market(1..33)).0.explain(&Affinity::default(), None, now);
    assert!(many.candidates.len() <= SHOWN);
}

#[test]
fn a_region_that_no_registry_tells_is_not_filtered_by() {
    let config = DiscoveryConfig { regions: vec!["eu".to_owned()], ..DiscoveryConfig::default() };
    let mut listed = market(1..3);
    let elsewhere = crate::discovery::CandidateOffer { services: Vec::new(), regions: vec![B256::repeat_byte(1)] };
    listed[0].offer = Some(elsewhere);
    let (orchestrators, now) = book(Rules { filter: Filter::new(&config), ..rules() }, &listed);
    assert_eq!(orchestrators.len(now), 1);
    assert_eq!(orchestrators.pool(now).dropped[0].code, "region");
}

#[test]
fn one_that_stands_still_gets_nothing_until_it_answers() {
    let (orchestrators, now) = three();
    let stream = Affinity::default();
    for _ in 0..4 {
        next(&orchestrators, &stream, &[], now).succeeded(QUICK, now);
    }
    let stalled = next(&orchestrators, &stream, &[], now);
    let at = |after: u64| now + Duration::from_millis(after);
    assert_eq!(
        port(&next(&orchestrators, &stream, &[], at(300))),
        port(&stalled),
        "less than twice 200 ms and deviation"
    );
    let later = at(2000);
    let other = next(&orchestrators, &stream, &[], later);
    assert_ne!(port(&other), port(&stalled));
    assert_eq!(stream.home(), Some(stalled.candidate.url.clone()), "it is waited for");
    let told = orchestrators.explain(&stream, Some(SEGMENT), later);
    let why = told.candidates.iter().find(|candidate| candidate.url == stalled.candidate.url).unwrap();
    assert_eq!(why.code, "overdue");
    assert!(why.why.contains("for 2.0 s, ") && why.why.contains(" was expected"), "{}", why.why);
    let status = session(&orchestrators, port(&stalled), later);
    assert_eq!((status.code, status.in_flight), ("overdue", 1));
    let home = port(&stalled);
    stalled.overtaken(Duration::from_secs(2), later);
    drop((stalled, other));
    assert_eq!(port(&next(&orchestrators, &stream, &[], later)), home, "it has answered");
    assert_eq!(session(&orchestrators, home, later).segments, 4, "what nobody looked at is no success");
}

#[test]
fn beside_a_slow_one_only_somebody_fit_is_asked() {
    let (orchestrators, now) = three();
    let stream = Affinity::default();
    let besides = |tried: &[Url], working: &[&Url], wanted| {
        orchestrators.choose_besides(Ask { affinity: &stream, segment: SEGMENT, tried, now }, working, wanted)
    };
    let first = next(&orchestrators, &stream, &[], now);
    let mut tried = vec![first.candidate.url.clone()];
    let second = besides(&tried, &[&tried[0]], Wanted::Fit).unwrap();
    assert_ne!(port(&first), port(&second));
    second.failed(&broken(), now);
    tried.push(second.candidate.url.clone());
    let third = besides(&tried, &[&tried[0]], Wanted::Fit).unwrap();
    tried.push(third.candidate.url.clone());
    third.failed(&busy(), now);
    assert!(besides(&tried, &[&tried[0]], Wanted::Fit).is_none());
    let again = besides(&tried, &[&tried[0]], Wanted::Anybody).unwrap();
    assert_eq!(port(&again), port(&third), "the busy one, and never one that works on it");
    let all: Vec<&Url> = tried.iter().collect();
    assert!(besides(&tried, &all, Wanted::Anybody).is_none());
}

#[test]
fn one_that_bills_wrongly_is_let_back_and_rests_longer_the_next_time() {
    let (orchestrators, mut now) = three();
    let terms = Terms { cheat: Duration::from_secs(3600), form: Duration::from_secs(600) };
    let mut rests = Vec::new();
    for _ in 0..4 {
        let rest = orchestrators.convicted(&url(1), Verdict::WrongPixels, "2 pixels were billed, not 1", terms, now);
        assert_eq!(session(&orchestrators, 1, now).suspended_ms, millis(rest));
        let ports: Vec<u16> = (0..4).map(|_| port(&alone(&orchestrators, now))).collect();
        assert!(!ports.contains(&1), "it gets work while it rests");
        rests.push(rest.as_secs() / 60);
        now += rest;
        assert_eq!(session(&orchestrators, 1, now).suspended_ms, 0);
    }
    assert_eq!(rests, [10, 20, 40, 60]);
}

#[test]
fn neither_a_quote_nor_leaving_the_list_ends_a_conviction() {
    let (orchestrators, now) = three();
    let terms = Terms { cheat: Duration::from_secs(3600), form: Duration::from_secs(600) };
    orchestrators.convicted(&url(1), Verdict::Unsigned, "no signature", terms, now);
    orchestrators.update(&[2, 3].map(|port| Candidate::own(url(port))), now);
    orchestrators.update(&[1, 2, 3].map(|port| Candidate::own(url(port))), now);
    orchestrators.quoted(&url(1), None, &offer(1), now);
    let session = session(&orchestrators, 1, now);
    assert_eq!((session.code, session.verdict), ("convicted", Some(Verdict::Unsigned)));
    assert!(session.why.contains("no signature"), "{}", session.why);
}

const TERMS: Terms = Terms { cheat: Duration::from_secs(6 * 3600), form: Duration::from_secs(600) };

fn caught(orchestrators: &Orchestrators, url: &Url, now: Instant) {
    orchestrators.convicted(url, Verdict::Unsigned, "no signature", TERMS, now);
}

#[test]
fn those_who_were_caught_keep_no_places_from_the_honest() {
    let (small, listed) = (Rules { shortlist: 4, ..rules() }, market(1..21));
    let (orchestrators, start) = book(small.clone(), &listed[..12]);
    let is_cheat = |candidate: &Candidate| candidate.url.port().is_some_and(|port| port <= 12);
    let mut now = start;
    for second in 0..60 {
        if second == 30 {
            orchestrators.update(&listed, now);
        }
        for candidate in orchestrators.due(8, now) {
            orchestrators.quoted(&candidate.url, None, &offer(1), now);
            if is_cheat(&candidate) {
                caught(&orchestrators, &candidate.url, now);
            }
        }
        now += Duration::from_secs(1);
    }
    let status = orchestrators.status(now);
    assert_eq!(status.iter().filter(|session| session.code == "usable").count(), 4, "the honest have all places");
    assert!(status.len() <= 8, "{}", status.len());
    assert!((0..8).all(|_| !is_cheat(&alone(&orchestrators, now).candidate)));

    // The next run knows whom this one caught, and asks them last.
    let roomy = Orchestrators::new(Rules { shortlist: 8, ..rules() });
    roomy.recall_convictions(orchestrators.unkept_convictions());
    roomy.update(&listed, now);
    assert_eq!(roomy.status(now).iter().filter(|session| session.code == "unquoted").count(), 8);
    let again = Orchestrators::new(small);
    again.recall_convictions(orchestrators.unkept_convictions());
    again.remember(listed.iter().map(|c| (c.clone(), Remembered::default())).collect(), true, now);
    assert!(again.due(8, now).iter().all(|candidate| !is_cheat(candidate)));
    again.update(&listed, now);
    assert!(again.status(now).iter().all(|session| session.code != "convicted"));
    assert_eq!(again.status(now).len(), 4);
    // Where there is nobody else, they have the places.
    let later = now + REMEMBERED_FOR;
    again.update(&listed[..12], later);
    assert_eq!(again.status(later).len(), 4);
    assert!(is_cheat(&alone(&again, later).candidate));
}

#[test]
fn one_that_was_caught_is_asked_for_quotes_and_will_do_where_nobody_else_is_left() {
    let (orchestrators, now) = book(rules(), &market(1..3));
    caught(&orchestrators, &url(1), now);
    let asked: Vec<Url> = orchestrators.due(8, now).into_iter().map(|candidate| candidate.url).collect();
    assert_eq!(asked, [url(2), url(1)]);
    orchestrators.quoted(&url(1), None, &offer(1), now);
    assert!(!orchestrators.any_ready(now), "the other one may answer yet");
    orchestrators.no_quote(&url(2), &broken(), now);
    assert!(orchestrators.any_ready(now), "nobody else is left");
    orchestrators.no_quote(&url(1), &broken(), now);
    let later = now + Duration::from_secs(60);
    assert!(orchestrators.due(8, later).iter().any(|candidate| candidate.url == url(1)), "asked again in an interval");
    orchestrators.quoted(&url(2), None, &offer(1), later);
    assert!(orchestrators.any_ready(later));
    assert_eq!(port(&alone(&orchestrators, later)), 2);
}

#[test]
fn a_segment_that_still_comes_waits_at_home_behind_another_one_and_is_not_late_before_it_begins() {
    let (orchestrators, now) = three();
    let stream = Affinity::default();
    let home = || orchestrators.choose_home(Ask { affinity: &stream, segment: SEGMENT, tried: &[], now });
    assert!(home().is_none(), "a stream begins with whole segments");
    for _ in 0..3 {
        next(&orchestrators, &stream, &[], now).succeeded(SEGMENT * 2 / 3, now);
    }
    let first = next(&orchestrators, &stream, &[], now);
    assert_ne!(port(&next(&orchestrators, &stream, &[], now)), port(&first), "two take longer than one may");
    let mut coming = home().unwrap();
    assert_eq!(coming.candidate.url, first.candidate.url);
    drop(first);
    let later = now + SEGMENT * 10;
    assert_ne!(session(&orchestrators, port(&coming), later).code, "overdue");
    coming.begin(SEGMENT, now);
    assert_eq!(session(&orchestrators, port(&coming), later).code, "overdue");
    coming.failed(&broken(), now);
    drop(coming);
    assert!(home().is_none(), "it rests");
    assert_eq!(stream.home().map(|url| session(&orchestrators, url.port().unwrap(), now).in_flight), Some(0));
}

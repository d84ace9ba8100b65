//! Who has a place in the shortlist, and who gets the next one.
use std::{collections::HashSet, time::Duration};

use tokio::time::Instant;
use url::Url;

use super::{Book, Orchestrators, record::Record};
use crate::{
    discovery::Candidate,
    selection::{Chance, probabilities},
};

/// Who may not be used gets its next chance of a place after this.
const PASSED_OVER: Duration = Duration::from_secs(600);
/// Such that are remembered at a time.
const MOST_PASSED_OVER: usize = 20_000;

impl Orchestrators {
    /// Gives free places of the shortlist to others of the list. Whoever was caught holds none against them, and waits until
    /// nobody else does.
    pub(super) fn fill_places(&self, book: &mut Book, now: Instant) {
        let known: HashSet<Url> = book.records.iter().map(|record| record.candidate.url.clone()).collect();
        let own: Vec<Candidate> = book.listed.iter().filter(|c| c.own && !known.contains(&c.url)).cloned().collect();
        for candidate in own {
            let record = book.new_record(candidate, now);
            book.records.push(record);
        }
        let answering = |record: &&Record| {
            !record.candidate.own
                && record.parent.is_none()
                && !record.is_silent()
                && self.exclusion(record, now).is_none()
        };
        let (convicted, usable): (Vec<&Record>, Vec<&Record>) =
            book.records.iter().filter(answering).partition(|record| record.is_convicted(now));
        let free = self.rules.shortlist.saturating_sub(usable.len());
        let left_by_convicted = free.saturating_sub(convicted.len());
        if free == 0 {
            return;
        }
        book.passed_over.retain(|_, until| *until > now);
        let waiting = |c: &&Candidate| !c.own && !known.contains(&c.url) && !book.passed_over.contains_key(&c.url);
        let (barred, waiting): (Vec<&Candidate>, Vec<&Candidate>) =
            book.listed.iter().filter(waiting).partition(|c| book.convictions.is_running(&c.url, now));
        let (waiting, free) = if waiting.is_empty() { (barred, left_by_convicted) } else { (waiting, free) };
        let drawn = self.draw_places(&waiting, free);
        let drawn: Vec<Candidate> = drawn.into_iter().map(|index| waiting[index].clone()).collect();
        for candidate in drawn {
            let dispensable = |record: &Record| {
                record.is_silent() || record.is_convicted(now) || self.exclusion(record, now).is_some()
            };
            book.make_room(dispensable, 2 * self.rules.shortlist, now);
            let record = book.new_record(candidate, now);
            book.records.push(record);
        }
    }

    /// Indices of those who get a place, by their stake and by chance; all of them, in their order, where there is room.
    fn draw_places(&self, waiting: &[&Candidate], places: usize) -> Vec<usize> {
        if waiting.len() <= places {
            return (0..waiting.len()).collect();
        }
        let chance =
            |c: &&Candidate| Chance { price: None, stake: c.stake.unwrap_or_default(), latency: None, success: 1.0 };
        let chances: Vec<Chance> = waiting.iter().map(chance).collect();
        let shares = probabilities(&chances, self.rules.selection.weights, self.rules.selection.price_scale);
        // The lowest of -ln(u)/p are a draw without putting back.
        let mut keys: Vec<(f64, usize)> = shares
            .iter()
            .enumerate()
            .map(|(index, share)| (-rand::random::<f64>().max(f64::MIN_POSITIVE).ln() / share, index))
            .collect();
        keys.sort_by(|a, b| a.0.total_cmp(&b.0));
        keys.into_iter().take(places).map(|(_, index)| index).collect()
    }

    /// Takes over further instances that an orchestrator names, in place of those that it names no more: at most
    /// `extra_nodes`, however often it names others. One level deep: what such an instance names is not asked.
    pub(super) fn take_over_instances(&self, of: &Url, named: &[Url], now: Instant) {
        let mut book = self.book();
        let Some(parent) = book.find(of).filter(|parent| parent.parent.is_none()).map(|p| p.candidate.clone()) else {
            return;
        };
        let is_child = |record: &Record| record.parent.as_ref() == Some(of);
        book.records.retain(|r| !is_child(r) || r.in_flight > 0 || named.contains(&r.candidate.url));
        let room = self.rules.extra_nodes.saturating_sub(book.records.iter().filter(|r| is_child(r)).count());
        let reachable = |node: &&Url| matches!(node.scheme(), "http" | "https") && node.has_host();
        let mut taken = 0;
        for node in named.iter().filter(reachable) {
            if taken < room && book.find(node).is_none() {
                let mut record = book.new_record(Candidate { url: node.clone(), ..parent.clone() }, now);
                record.parent = Some(of.clone());
                book.records.push(record);
                taken += 1;
            }
        }
    }
}

impl Book {
    /// Further instances are there as long as who named them is.
    pub(super) fn drop_children(&mut self) {
        let present: HashSet<Url> =
            self.records.iter().filter(|r| r.listed && r.parent.is_none()).map(|r| r.candidate.url.clone()).collect();
        for record in &mut self.records {
            if let Some(parent) = &record.parent {
                record.listed = present.contains(parent);
            }
        }
    }

    /// Forgets one that others should have the place of, if there are more than `most` records.
    fn make_room(&mut self, is_dispensable: impl Fn(&Record) -> bool, most: usize, now: Instant) {
        if self.records.len() < most {
            return;
        }
        let idle = |r: &&Record| !r.candidate.own && r.in_flight == 0 && is_dispensable(r);
        let oldest = self.records.iter().filter(idle).min_by_key(|record| record.probe_at);
        if let Some(url) = oldest.map(|record| record.candidate.url.clone()) {
            self.records.retain(|record| record.candidate.url != url);
            if self.passed_over.len() < MOST_PASSED_OVER {
                self.passed_over.insert(url, now + PASSED_OVER);
            }
        }
    }
}

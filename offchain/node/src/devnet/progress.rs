//! What a person sees while the network runs: one line that changes, then one per finished step.
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    directory::Directory,
    roles::{BroadcasterStatus, DELEGATOR, Plan},
};
use crate::output::Output;

/// Steps of set-up, and a bar for the stream. On stderr, like everything for people.
#[derive(Debug)]
pub(super) struct Progress {
    output: Output,
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new(output: Output) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { output, bar }
    }

    /// Goes on to the next step.
    pub(super) fn step(&self, what: &str) {
        if self.bar.is_hidden() {
            // Not a terminal: a log wants whole lines.
            self.output.note(what);
        } else {
            self.bar.set_style(ProgressStyle::default_spinner());
            self.bar.set_message(what.to_owned());
        }
    }

    /// Turns to the stream.
    pub(super) fn stream(&self, plan: &Plan) {
        self.bar.suspend(|| {
            self.output.note(format_args!("chain   {}", plan.rpc_url));
            self.output.note(format_args!("watch   {}", plan.page_url));
        });
        self.step(&format!("playing {} for {:?}", plan.input.display(), plan.duration));
    }

    pub(super) fn playing(&self, status: &BroadcasterStatus) {
        if let Some(stream) = status.streams.first() {
            self.bar.set_message(format!(
                "playing: {} segments in, {} transcoded, {} failed, {} tickets sent",
                stream.segments.received, stream.segments.transcoded, stream.segments.failed, status.tickets.sent
            ));
        }
    }

    pub(super) fn redeeming(&self, redeemed: u64, open: u64) {
        self.bar.set_message(format!("redeeming: {redeemed} tickets paid, {open} waiting"));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// The job is done and the network goes on.
    pub(super) fn stays_up(&self, plan: &Plan, directory: &Directory) {
        self.output
            .note(format_args!("\nThe network stays up until Ctrl-C. Watch {}\nAsk it, for example:", plan.page_url));
        let program = std::env::current_exe().map_or_else(|_| "streamflow".into(), |path| path.display().to_string());
        let asks = [("broadcaster", "chain status"), ("keeper", "tickets list"), (DELEGATOR, "delegator fee-ratio")];
        for (role, command) in asks {
            self.output.note(format_args!("  {program} --config {} {command}", directory.config(role).display()));
        }
    }
}

//! `bench tickets`: what a ticket costs beside the curve arithmetic that it cannot do without.
use std::time::Duration;

use serde::Serialize;
use streamflow_pm::benchmark::{self, TicketFigures};

use crate::{
    cli::BenchTicketsArgs,
    commands::Context,
    output::{Report, Table},
};

/// Ratios hold on another machine, times do not.
#[derive(Debug, Serialize)]
struct TicketsReport {
    /// Tickets of each kind.
    tickets: u64,
    /// Bare libsecp256k1 recovery over receiving a payment of one ticket.
    receive_ratio: f64,
    /// Bare libsecp256k1 signing over making a payment of one ticket.
    create_ratio: f64,
    /// Refusing a ticket, on terms that were not quoted or with a number that was seen, whichever is dearer.
    refused_us: f64,
    recover_us: f64,
    receive_us: f64,
    receive_batched_us: f64,
    sign_us: f64,
    create_us: f64,
    create_batched_us: f64,
    refuse_unquoted_us: f64,
    refuse_seen_us: f64,
}

impl From<&TicketFigures> for TicketsReport {
    fn from(figures: &TicketFigures) -> Self {
        Self {
            tickets: figures.tickets(),
            receive_ratio: figures.receive_ratio(),
            create_ratio: figures.create_ratio(),
            refused_us: micros(figures.refused()),
            recover_us: micros(figures.median(|times| times.recover)),
            receive_us: micros(figures.median(|times| times.receive)),
            receive_batched_us: micros(figures.median(|times| times.receive_batched)),
            sign_us: micros(figures.median(|times| times.sign)),
            create_us: micros(figures.median(|times| times.create)),
            create_batched_us: micros(figures.median(|times| times.create_batched)),
            refuse_unquoted_us: micros(figures.median(|times| times.refuse_unquoted)),
            refuse_seen_us: micros(figures.median(|times| times.refuse_seen)),
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Measures on one thread.
///
/// # Errors
/// When the tickets of the benchmark itself are not taken.
pub async fn run(context: &Context, args: BenchTicketsArgs) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        context.output.note("this is a debug build: the ratios are not those of a release");
    }
    let figures = tokio::task::spawn_blocking(move || benchmark::run(args.rounds.into())).await??;
    context.output.result(&TicketsReport::from(&figures))?;
    Ok(())
}

impl Report for TicketsReport {
    fn text(&self) -> String {
        let mut table = Table::new(["", "µs", "of it curve arithmetic"]);
        let share = |ratio: f64| format!("{:.1} %", ratio * 100.0);
        let rows = [
            ("recover a signer", self.recover_us, String::new()),
            ("receive a ticket", self.receive_us, share(self.receive_ratio)),
            ("receive one of many", self.receive_batched_us, String::new()),
            ("sign a digest", self.sign_us, String::new()),
            ("make a ticket", self.create_us, share(self.create_ratio)),
            ("make one of many", self.create_batched_us, String::new()),
            ("refuse one not quoted", self.refuse_unquoted_us, String::new()),
            ("refuse one seen", self.refuse_seen_us, String::new()),
        ];
        for (name, time, share) in rows {
            table.row([name.to_owned(), format!("{time:.2}"), share]);
        }
        format!("medians over {} tickets of each kind, one core\n\n{table}", self.tickets)
    }
}

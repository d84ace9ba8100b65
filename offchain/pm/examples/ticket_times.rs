//! Prints what tickets cost on this machine, one core: `cargo run --release -p streamflow-pm --example ticket_times`.
use streamflow_pm::benchmark::{self, BenchmarkError};

fn main() -> Result<(), BenchmarkError> {
    let figures = benchmark::run(501)?;
    let median = |name: &str, time: fn(&benchmark::TicketTimes) -> std::time::Duration| {
        println!("{name:<16} {:>8.3} µs", figures.median(time).as_secs_f64() * 1e6);
    };
    median("recover", |times| times.recover);
    median("receive", |times| times.receive);
    median("receive batched", |times| times.receive_batched);
    median("sign", |times| times.sign);
    median("create", |times| times.create);
    median("create batched", |times| times.create_batched);
    median("refuse unquoted", |times| times.refuse_unquoted);
    median("refuse seen", |times| times.refuse_seen);
    println!("receive_ratio    {:>8.3}", figures.receive_ratio());
    println!("create_ratio     {:>8.3}", figures.create_ratio());
    Ok(())
}

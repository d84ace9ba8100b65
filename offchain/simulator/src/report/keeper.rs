//! What redemption costs.
use super::{
    Chapter, Figure, csv, percent,
    svg::{Axis, BLUE, Chart, GREEN, GREY, ORANGE, SAND, SKY},
};
use crate::{GasOfBatch, KeeperCosts, Path, Policy, PolicyCost, Wei};

const BLOCKS_PER_DAY: f64 = 7_200.0;

pub(super) fn chapter(costs: &KeeperCosts) -> Chapter {
    let best = costs.policies.iter().min_by(|a, b| total(a).total_cmp(&total(b)));
    let mut paragraphs = vec![format!(
        "Every policy redeems the same winners of {:.4} ETH at the same prices of gas, each on a chain of its own. Gas is that \
         of the transactions. Waiting costs a hundredth of a winner's face value for each day, for the risk that its sender \
         fails.",
        costs.face_value.eth()
    )];
    if let Some(best) = best {
        let part = |wei: Wei| percent(wei.approx(), best.paid.approx());
        paragraphs.push(format!(
            "The cheapest is \"{}\", {}: gas takes {} of what is paid, waiting {}. No policy knows the future; at the lowest \
             price of each winner's life, gas would take {}.",
            name(best.policy),
            by(best.path),
            part(best.gas_cost),
            part(best.waiting_cost),
            part(best.oracle),
        ));
    }
    paragraphs.push(match costs.policies.iter().filter(|cost| cost.lost > Wei::ZERO).count() {
        0 => "No policy lost a winner.".to_owned(),
        lost => format!("{lost} policies let winners die."),
    });
    let figures = vec![gas(costs), overhead(costs), prices(costs)];
    Chapter { title: "What redemption costs", paragraphs, table: String::new(), figures }
}

/// Percent of what was paid.
fn share(part: Wei, cost: &PolicyCost) -> f64 {
    100.0 * part.approx() / cost.paid.approx().max(1.0)
}

fn total(cost: &PolicyCost) -> f64 {
    share(cost.gas_cost + cost.waiting_cost, cost)
}

fn name(policy: Policy) -> &'static str {
    match policy {
        Policy::AtOnce => "each at once",
        Policy::Batch => "ten at a time",
        Policy::Threshold => "threshold",
        Policy::Deferred => "threshold, not in spikes",
    }
}

fn by(path: Path) -> &'static str {
    match path {
        Path::Deployed => "by the deployed calls",
        Path::Ordered => "in order",
    }
}

fn gas(costs: &KeeperCosts) -> Figure {
    let line = |path: Path, one: bool| {
        let batches = costs.gas.iter().filter(move |batch| batch.path == path && (batch.senders == 1) == one);
        batches.map(|batch| [batch.tickets as f64, batch.per_ticket as f64 / 1e3]).collect::<Vec<_>>()
    };
    let largest = costs.gas.iter().map(|batch| batch.tickets).max().unwrap_or(2);
    let at = |path| {
        let mut batches = costs.gas.iter().filter(|batch| batch.path == path && batch.senders == 1);
        batches.find(|batch| batch.tickets == largest).map_or(0, |batch| batch.per_ticket)
    };
    let (deployed, ordered) = (at(Path::Deployed), at(Path::Ordered));
    let title =
        format!("In batches of {largest}, a winner costs {ordered} gas in order and {deployed} by the deployed call");
    let highest = costs.gas.iter().map(|batch| batch.per_ticket as f64 / 1e3).fold(1.0, f64::max);
    let ticks = costs.gas.iter().filter(|batch| batch.senders == 1 && batch.path == Path::Ordered);
    let x = Axis::log("winners in a transaction", 1.0, largest.max(2) as f64)
        .at(ticks.map(|batch| (batch.tickets as f64, batch.tickets.to_string())));
    let mut chart = Chart::new(title, x, Axis::linear("gas per winner, thousands", 0.0, highest));
    for (path, one, colour, text) in [
        (Path::Deployed, true, ORANGE, "deployed calls, one sender"),
        (Path::Deployed, false, SAND, "deployed calls, ten senders"),
        (Path::Ordered, true, BLUE, "in order, one sender"),
        (Path::Ordered, false, SKY, "in order, ten senders"),
    ] {
        let points = line(path, one);
        if !points.is_empty() {
            chart = chart.line(colour, 2.5, points.clone()).dots(colour, 4.5, points).legend(colour, text);
        }
    }
    let rows = costs.gas.iter().map(|batch| {
        let GasOfBatch { path, tickets, senders, gas, per_ticket } = batch;
        [format!("{path:?}"), tickets.to_string(), senders.to_string(), gas.to_string(), per_ticket.to_string()]
    });
    let csv = csv(["path", "tickets", "senders", "gas", "gas_per_ticket"], rows);
    Figure { name: "keeper-gas", svg: chart.svg(), csv }
}

fn overhead(costs: &KeeperCosts) -> Figure {
    let highest = costs.policies.iter().map(total).fold(0.1, f64::max);
    let find = |policy, path| costs.policies.iter().find(|cost| (cost.policy, cost.path) == (policy, path));
    let cheapest = costs.policies.iter().map(total).fold(f64::MAX, f64::min);
    let naive = find(Policy::AtOnce, Path::Deployed).map_or(0.0, total);
    let title = format!("The best policy costs {cheapest:.2} % of income, redeeming each winner at once {naive:.2} %");
    let ticks =
        Policy::ALL.into_iter().enumerate().map(|(i, policy)| (i as f64, name(policy).replacen(", ", ",\n", 1)));
    let x = Axis::linear("policy", -0.6, 3.6).at(ticks);
    let mut chart = Chart::new(title, x, Axis::linear("cost, % of what is paid", 0.0, highest * 1.1))
        .legend(ORANGE, "gas, deployed calls")
        .legend(SAND, "waiting, deployed calls")
        .legend(BLUE, "gas, in order")
        .legend(SKY, "waiting, in order")
        .legend_dashed(GREY, "gas with perfect foresight");
    for (i, policy) in Policy::ALL.into_iter().enumerate() {
        for (path, offset, dark, light) in [(Path::Deployed, -0.38, ORANGE, SAND), (Path::Ordered, 0.02, BLUE, SKY)] {
            let Some(cost) = find(policy, path) else { continue };
            let (left, right) = (i as f64 + offset, i as f64 + offset + 0.36);
            let (gas, oracle, top) = (share(cost.gas_cost, cost), share(cost.oracle, cost), total(cost));
            chart = chart
                .bar(dark, [left, 0.0], [right, gas])
                .bar(light, [left, gas], [right, top])
                .dashes(GREY, vec![[left, oracle], [right, oracle]])
                .text([f64::midpoint(left, right), top], format!("{top:.2}"));
        }
    }
    let rows = costs.policies.iter().map(|cost| {
        let [paid, lost, gas_cost, waiting_cost, oracle] =
            [cost.paid, cost.lost, cost.gas_cost, cost.waiting_cost, cost.oracle].map(|wei| wei.to_string());
        let [tickets, transactions] = [cost.tickets, cost.transactions.len()].map(|count| count.to_string());
        let (path, policy) = (format!("{:?}", cost.path), format!("{:?}", cost.policy));
        [path, policy, tickets, transactions, paid, lost, cost.gas.to_string(), gas_cost, waiting_cost, oracle]
    });
    let columns = [
        "path",
        "policy",
        "tickets",
        "transactions",
        "paid_wei",
        "lost_wei",
        "gas",
        "gas_wei",
        "waiting_wei",
        "oracle_wei",
    ];
    Figure { name: "keeper-overhead", svg: chart.svg(), csv: csv(columns, rows) }
}

fn prices(costs: &KeeperCosts) -> Figure {
    let place = |step: &crate::PriceStep| [step.block as f64 / BLOCKS_PER_DAY, step.price.approx() / 1e9];
    let path: Vec<[f64; 2]> = costs.prices.iter().map(place).collect();
    let sent = |policy: Policy| {
        let cost = costs.policies.iter().find(|cost| (cost.policy, cost.path) == (policy, Path::Ordered));
        let transactions = cost.map_or(&[][..], |cost| &cost.transactions);
        transactions.iter().filter_map(|(step, _)| path.get(*step).copied()).collect::<Vec<_>>()
    };
    let (least, most) = path.iter().fold((f64::MAX, 0.0_f64), |(least, most), [_, y]| (least.min(*y), most.max(*y)));
    let last = path.last().map_or(1.0, |[x, _]| *x);
    let cost = |policy| {
        let cost = costs.policies.iter().find(|cost| (cost.policy, cost.path) == (policy, Path::Ordered));
        cost.map_or(0.0, |cost| share(cost.gas_cost, cost))
    };
    let title = format!(
        "Waiting for spikes to pass: gas takes {:.2} % of income instead of {:.2} % when ten are redeemed at a time",
        cost(Policy::Deferred),
        cost(Policy::Batch)
    );
    let y = Axis::log("price of gas, gwei", least * 0.9, most * 1.1);
    let chart = Chart::new(title, Axis::linear("days", 0.0, last), y)
        .line(GREY, 1.2, path.clone())
        .dots(ORANGE, 4.0, sent(Policy::Batch))
        .dots(GREEN, 4.0, sent(Policy::Deferred))
        .legend(GREY, "price of gas")
        .legend(ORANGE, "transaction, ten at a time, in order")
        .legend(GREEN, "transaction, threshold but not in spikes, in order");
    let rows = costs.prices.iter().map(|step| [step.block.to_string(), step.price.to_string()]);
    Figure { name: "keeper-prices", svg: chart.svg(), csv: csv(["block", "wei_per_gas"], rows) }
}

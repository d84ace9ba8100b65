//! What senders without funds, and orchestrators against their delegators, bring about.
use super::{
    Chapter, Figure, csv, percent,
    rows::{Bar, Rows},
    svg::{Axis, BLUE, Chart, Entry, GREEN, ORANGE, SKY},
};
use crate::{Burst, Cover, DefaultLosses, Delegators};

const COVERS: [(Cover, &str, &str); 4] = [
    (Cover::Blind, ORANGE, "asks nothing"),
    (Cover::MaxFloat, SKY, "deployed: share of the reserve, and a third of the deposit"),
    (Cover::Part, BLUE, "this node: share of the reserve, and a tenth of the deposit"),
    (Cover::ShareOnly, GREEN, "share of the reserve alone"),
];

pub(super) fn defaults(losses: &DefaultLosses) -> Chapter {
    let worst = |cover: Cover| {
        let bursts = losses.bursts.iter().filter(|burst| burst.cover == cover);
        bursts.max_by_key(|burst| burst.lost).map_or((0.0, 0), |burst| (burst.lost.approx(), burst.pool))
    };
    let [(blind, _), (float, pool), (part, of), (share, _)] = COVERS.map(|(cover, ..)| worst(cover));
    let [blind, float, part, share] = [blind, float, part, share].map(|lost| percent(lost, losses.funds.approx()));
    let one = |cover: Cover| {
        let bursts = losses.bursts.iter().filter(|burst| burst.cover == cover && burst.pool == pool);
        percent(bursts.map(|burst| burst.worst).max().unwrap_or_default().approx(), losses.funds.approx())
    };
    let paragraphs = vec![
        format!(
            "A sender with {:.1} ETH, half of it reserve, buys work from every active orchestrator at once, {:.1} ETH if they let \
             it. Nothing is redeemed before all is bought. A loss is a winner that is never paid.",
            losses.funds.eth(),
            losses.demand.eth()
        ),
        format!(
            "At the worst, orchestrators that ask nothing lose {blind} of the sender's funds. Max float, the deployed rule, leaves \
             {float} (with {pool} orchestrators, of which one loses {}): each takes a third of the deposit for its own, so more \
             than three count on it more than once. A part for each orchestrator, and a tenth at least, leaves {part} (with \
             {of}; with {pool}, one loses {}). Counting on the share of the reserve alone leaves {share}.",
            one(Cover::MaxFloat),
            one(Cover::Part)
        ),
    ];
    let lost = lines(
        losses,
        "default-losses",
        &format!(
            "At the worst, the deployed rule lets winners worth {float} of the sender's funds fail, this node's {part}"
        ),
        "winners never paid, % of the sender's funds",
        |burst| burst.lost.approx(),
    );
    let sold = lines(
        losses,
        "default-sales",
        "Caution costs sales: what an overspending sender can buy",
        "work done, % of the sender's funds",
        |burst| burst.sold.approx(),
    );
    let figures = vec![lost, sold];
    Chapter { title: "What overspending senders cost", paragraphs, table: String::new(), figures }
}

fn lines(losses: &DefaultLosses, name: &'static str, title: &str, label: &str, value: fn(&Burst) -> f64) -> Figure {
    let funds = losses.funds.approx();
    let share = |burst: &Burst| 100.0 * value(burst) / funds;
    let pools = || losses.bursts.iter().map(|burst| burst.pool as f64);
    let (least, most) = (pools().fold(f64::MAX, f64::min), pools().fold(1.0, f64::max));
    let highest = losses.bursts.iter().map(share).fold(10.0, f64::max);
    let x = Axis::log("orchestrators in the active set", least, most.max(least * 2.0))
        .at(pools().step_by(COVERS.len()).map(|pool| (pool, format!("{pool:.0}"))));
    let mut chart = Chart::new(title, x, Axis::linear(label, 0.0, highest));
    for (cover, colour, text) in COVERS {
        let bursts = losses.bursts.iter().filter(|burst| burst.cover == cover);
        let points: Vec<[f64; 2]> = bursts.map(|burst| [burst.pool as f64, share(burst)]).collect();
        chart = chart.line(colour, 2.5, points.clone()).dots(colour, 4.5, points).legend(colour, text);
    }
    let rows = losses.bursts.iter().map(|burst| {
        let Burst { pool, cover, sold, won, paid, lost, worst } = burst;
        let [sold, won, paid, lost, worst] = [sold, won, paid, lost, worst].map(|wei| wei.to_string());
        [pool.to_string(), format!("{cover:?}"), sold, won, paid, lost, worst]
    });
    let columns = ["orchestrators", "cover", "sold_wei", "won_wei", "paid_wei", "lost_wei", "worst_of_one_wei"];
    Figure { name, svg: chart.svg(), csv: csv(columns, rows) }
}

pub(super) fn delegators(delegators: &Delegators) -> Chapter {
    let promised = delegators.promised.approx();
    let unannounced = delegators.schedules.iter().filter(|schedule| !schedule.announced);
    let worst = unannounced.min_by_key(|schedule| schedule.delegator);
    let (least, what) = worst.map_or((promised, "nothing"), |worst| (worst.delegator.approx(), worst.what));
    let paragraphs = vec![
        format!(
            "A delegator has three quarters of an orchestrator's stake, delegators get 90 % of fees: of a winner of {:.2} ETH it \
             is promised {:.4}. Between winning and redeeming the orchestrator works against it.",
            delegators.face_value.eth(),
            delegators.promised.eth()
        ),
        format!("The worst it can do without notice: it {what}. The delegator gets {}.", percent(least, promised)),
    ];
    let rows = delegators.schedules.iter().map(|schedule| {
        let colour = if schedule.announced { BLUE } else { GREEN };
        let share = 100.0 * schedule.delegator.approx() / promised;
        (schedule.what.to_owned(), vec![Bar { value: share, colour, text: format!("{share:.1} %") }])
    });
    let entry = |colour, text: &str| Entry { colour, dashed: false, text: text.to_owned() };
    let taken = percent(promised - least, promised);
    let chart = Rows {
        title: format!("An orchestrator that gives no notice can take {taken} of its delegator's fees"),
        label: "fees of the delegator, % of what it was promised",
        scale: Axis::linear("", 0.0, 100.0),
        legend: vec![entry(GREEN, "without notice"), entry(BLUE, "on notice of seven rounds")],
        rows: rows.collect(),
    };
    let rows = delegators.schedules.iter().map(|schedule| {
        let (promised, announced) = (delegators.promised, schedule.announced);
        let [delegator, orchestrator, promised] =
            [schedule.delegator, schedule.orchestrator, promised].map(|wei| wei.to_string());
        [schedule.what.to_owned(), delegator, orchestrator, promised, announced.to_string()]
    });
    let csv = csv(["orchestrator", "delegator_wei", "orchestrator_wei", "promised_wei", "announced"], rows);
    let figures = vec![Figure { name: "delegators", svg: chart.svg(), csv }];
    Chapter { title: "What delegators get", paragraphs, table: String::new(), figures }
}

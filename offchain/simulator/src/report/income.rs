//! How incomes vary.
use super::{
    Chapter, Figure, csv,
    svg::{Axis, BLUE, Chart, GREY, ORANGE, SKY},
};
use crate::{Income, IncomePoint, statistics};

pub(super) fn chapter(income: &Income) -> Chapter {
    let [low, high] = income.interval_99.map(|wei| wei.eth());
    let verdict = if income.inside { "inside" } else { "outside" };
    let (orchestrators, each) = income.points.last().map_or((0, 0), |point| (point.incomes.len(), point.tickets));
    let paragraphs = vec![
        format!(
            "{orchestrators} orchestrators got {each} tickets each, of {:.4} ETH with a chance of {:.2} %. {} of {} won.",
            income.face_value.eth(),
            100.0 * income.win_probability,
            income.winners,
            income.tickets,
        ),
        format!(
            "The contracts paid {:.4} ETH. Theory expects {:.4}, and in 99 % of runs a sum from {low:.4} to {high:.4} \
             (binomial): this run is {verdict}.",
            income.paid.eth(),
            income.expected.eth(),
        ),
    ];
    let figures = vec![deviation(income), paths(income)];
    Chapter { title: "How much income varies", paragraphs, table: String::new(), figures }
}

/// Tickets at the first and the last point.
fn span(income: &Income) -> [f64; 2] {
    match (income.points.first(), income.points.last()) {
        (Some(first), Some(last)) => [first.tickets as f64, last.tickets as f64],
        _ => [1.0, 10.0],
    }
}

fn deviation(income: &Income) -> Figure {
    let points = |value: fn(&IncomePoint) -> f64| {
        income.points.iter().map(|point| [point.tickets as f64, 100.0 * value(point)]).collect::<Vec<_>>()
    };
    let (measured, theory) = (points(|point| point.measured), points(|point| point.theory));
    let (lower, upper) = (points(|point| point.interval_99[0]), points(|point| point.interval_99[1]));
    let all = || measured.iter().chain(&lower).chain(&upper).map(|[_, value]| *value).filter(|value| *value > 0.0);
    let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(1.0, f64::max));
    let is_inside = |point: &&IncomePoint| (point.interval_99[0]..=point.interval_99[1]).contains(&point.measured);
    let title = format!(
        "The spread of incomes falls as theory says: {} of {} measurements lie in its 99 % band",
        income.points.iter().filter(is_inside).count(),
        income.points.len()
    );
    let [first, last] = span(income);
    let x = Axis::log("tickets of each orchestrator", first, last);
    let y = Axis::log("relative standard deviation of income, %", least * 0.9, most * 1.1);
    let chart = Chart::new(title, x, y)
        .area(SKY, &lower, &upper)
        .line(BLUE, 2.0, theory)
        .dots(ORANGE, 4.5, measured)
        .legend(SKY, "99 % of measurements, for normal incomes")
        .legend(BLUE, "theory: √((1 − p) / (n p))")
        .legend(ORANGE, "measured on chain");
    let rows = income.points.iter().map(|point| {
        let [low, high] = point.interval_99;
        [point.tickets as f64, point.measured, point.theory, low, high].map(|number| number.to_string())
    });
    let csv = csv(["tickets", "measured", "theory", "low_99", "high_99"], rows);
    Figure { name: "income-deviation", svg: chart.svg(), csv }
}

fn paths(income: &Income) -> Figure {
    let (face, p) = (income.face_value.approx(), income.win_probability);
    let share = |point: &IncomePoint, who: usize| {
        [point.tickets as f64, 100.0 * point.incomes[who].approx() / (point.tickets as f64 * p * face)]
    };
    let band = |sign: f64| {
        let edge = |point: &IncomePoint| {
            let spread = statistics::Z_99 * statistics::income_deviation(point.tickets, p);
            [point.tickets as f64, 100.0 * (1.0 + sign * spread).max(0.0)]
        };
        income.points.iter().map(edge).collect::<Vec<_>>()
    };
    let (lower, upper) = (band(-1.0), band(1.0));
    let orchestrators = income.points.first().map_or(0, |point| point.incomes.len());
    let lines: Vec<Vec<[f64; 2]>> =
        (0..orchestrators).map(|who| income.points.iter().map(|point| share(point, who)).collect()).collect();
    let most = lines.iter().flatten().chain(&upper).map(|[_, value]| *value).fold(100.0, f64::max);
    let ends = || lines.iter().filter_map(|line| line.last()).map(|[_, value]| *value);
    let [first, last] = span(income);
    let title = format!(
        "After {last:.0} tickets the unluckiest orchestrator has {:.0} % of what it should, the luckiest {:.0} %",
        ends().fold(f64::MAX, f64::min),
        ends().fold(0.0, f64::max)
    );
    let mut chart = Chart::new(
        title,
        Axis::linear("tickets of each orchestrator", first, last),
        Axis::linear("income, % of its expectation", 0.0, most),
    )
    .area(SKY, &lower, &upper)
    .legend(SKY, "99 % of incomes, by the normal approximation")
    .legend(GREY, "one orchestrator")
    .legend_dashed(ORANGE, "expectation");
    for line in lines {
        chart = chart.line(GREY, 1.0, line);
    }
    chart = chart.dashes(ORANGE, vec![[first, 100.0], [last, 100.0]]);
    let rows = income.points.iter().flat_map(|point| {
        let incomes = point.incomes.iter().enumerate();
        incomes.map(|(who, income)| [point.tickets.to_string(), who.to_string(), income.to_string()])
    });
    let csv = csv(["tickets", "orchestrator", "income_wei"], rows);
    Figure { name: "income-paths", svg: chart.svg(), csv }
}

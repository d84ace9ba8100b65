//! What attackers and victims win and lose.
use super::{
    Chapter, Figure, csv,
    rows::{Bar, Rows},
    svg::{Axis, BLUE, Entry, ORANGE, escaped},
};
use crate::{Attack, AttackOutcome, Wei};

/// The least that the scale shows, ETH.
const LEAST: f64 = 1e-6;
/// Characters of a name that have room beside the bars.
const NAME: usize = 48;

pub(super) fn chapter(attacks: &[Attack]) -> Chapter {
    let held = attacks.iter().filter(|attack| attack.is_held()).count();
    let paying = attacks.iter().filter(|attack| attack.pays_without_defence() == Some(true)).count();
    let switchable = attacks.iter().filter(|attack| attack.undefended.is_some()).count();
    let failed: Vec<_> = attacks.iter().filter(|attack| !attack.is_held()).map(|attack| attack.id).collect();
    let verdict = match failed.as_slice() {
        [] => "every defence holds".to_owned(),
        failed => format!("the defence FAILS against {}", failed.join(", ")),
    };
    let paragraphs = vec![format!(
        "{held} of {} attacks gain nothing beyond their bound: {verdict}. With the victim's policy switched off, {paying} of \
         {switchable} do damage. The others are refused by the contracts whatever the victim does.",
        attacks.len()
    )];
    let figures = vec![figure(attacks, held)];
    Chapter { title: "What attacks come to", paragraphs, table: table(attacks), figures }
}

fn amount(wei: Wei) -> String {
    match wei {
        Wei::ZERO => "0".to_owned(),
        wei if wei.eth().abs() >= 0.001 => format!("{:.3} ETH", wei.eth()),
        wei if wei.0.abs() >= 1_000_000_000 => format!("{:.0} gwei", wei.approx() / 1e9),
        wei => format!("{wei} wei"),
    }
}

fn table(attacks: &[Attack]) -> String {
    let mut html = String::from(
        "<table><tr><th></th><th>Attack</th><th>Defence</th><th>Profit, loss</th><th>Without the defence</th></tr>\n",
    );
    let told =
        |outcome: &AttackOutcome| format!("{}, {}: {}", amount(outcome.profit), amount(outcome.loss), outcome.what);
    for attack in attacks {
        let bound = match attack.bound {
            Wei::ZERO => String::new(),
            bound => format!(" Bound: {}.", amount(bound)),
        };
        let without = attack.undefended.as_ref().map_or_else(|| "decided by the contracts alone".to_owned(), told);
        let cells = [
            attack.id.to_owned(),
            format!("{} (victim: {})", attack.name, attack.victim),
            attack.defence.to_owned(),
            told(&attack.defended) + "." + &bound,
            without,
        ];
        html.push_str(&format!("<tr>{}</tr>\n", cells.map(|cell| format!("<td>{}</td>", escaped(&cell))).concat()));
    }
    html.push_str("</table>\n");
    html
}

fn figure(attacks: &[Attack], held: usize) -> Figure {
    let bar = |outcome: &AttackOutcome, colour| {
        let most = outcome.profit.max(outcome.loss);
        Bar { value: most.eth().max(0.0), colour, text: amount(most) }
    };
    let rows = attacks.iter().map(|attack| {
        let mut bars = vec![bar(&attack.defended, BLUE)];
        bars.extend(attack.undefended.as_ref().map(|outcome| bar(outcome, ORANGE)));
        let name: String = attack.name.chars().take(NAME).collect();
        let cut = if name.len() < attack.name.len() { "…" } else { "" };
        (format!("{} {name}{cut}", attack.id), bars)
    });
    let rows: Vec<_> = rows.collect();
    let values = rows.iter().flat_map(|(_, bars)| bars).map(|bar| bar.value);
    let entry = |colour, text: &str| Entry { colour, dashed: false, text: text.to_owned() };
    let chart = Rows {
        title: format!("Defences hold against {held} of {} attacks; switched off, the same attacks pay", attacks.len()),
        label: "profit of the attacker or loss of the victim, whichever is more, ETH",
        scale: Axis::log("", LEAST, values.fold(LEAST * 10.0, f64::max)),
        legend: vec![entry(BLUE, "with the defence"), entry(ORANGE, "victim's policy switched off")],
        rows,
    };
    let rows = attacks.iter().map(|attack| {
        let without = |amount: fn(&AttackOutcome) -> Wei| {
            attack.undefended.as_ref().map(amount).map(|wei| wei.to_string()).unwrap_or_default()
        };
        let [bound, profit, loss] =
            [attack.bound, attack.defended.profit, attack.defended.loss].map(|wei| wei.to_string());
        let (profit_without, loss_without) = (without(|outcome| outcome.profit), without(|outcome| outcome.loss));
        let [id, name, victim, defence] = [attack.id, attack.name, attack.victim, attack.defence].map(str::to_owned);
        [id, name, victim, defence, bound, profit, loss, profit_without, loss_without]
    });
    let columns = [
        "id",
        "attack",
        "victim",
        "defence",
        "bound_wei",
        "profit_wei",
        "loss_wei",
        "profit_without_defence_wei",
        "loss_without_defence_wei",
    ];
    Figure { name: "attacks", svg: chart.svg(), csv: csv(columns, rows) }
}

//! Why a candidate was chosen or not, with both figures and the setting that decides.
use std::{fmt, time::Duration};

use alloy_primitives::{Address, U256};
use serde::Serialize;
use streamflow_types::Price;
use url::Url;

use super::RestKind;

/// Why a candidate is not chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The newest list does not have it.
    Unlisted,
    /// An entry of the blocklist names it.
    Blocked(String),
    /// LPT wei.
    Stake { got: U256, least: U256 },
    /// None of those that are wanted.
    Region { wanted: String },
    /// Not the one that is wanted.
    Service { wanted: String },
    /// Above the maximum.
    Price { got: Price, max: Price },
    /// Capability bits that the profiles need and it lacks, or that it insists on.
    Incapable { lacks: Vec<u32> },
    /// Older than wanted.
    Version { got: String, least: String },
    /// It rests.
    Resting { kind: RestKind, left: Duration, because: Option<String> },
    /// It would be late.
    Late { predicted: Duration, deadline: Duration },
    /// Its oldest segment in flight should be done.
    Overdue { age: Duration, expected: Duration },
    /// It has told no price yet.
    Unquoted,
    /// Others come first.
    OwnFirst,
    /// The stream has one that keeps the deadline.
    HasHome,
    /// Another was drawn, or had its turn.
    NotDrawn,
}

impl Reason {
    /// Names the kind; one per variant.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unlisted => "unlisted",
            Self::Blocked(_) => "blocked",
            Self::Stake { .. } => "stake",
            Self::Region { .. } => "region",
            Self::Service { .. } => "service",
            Self::Price { .. } => "price",
            Self::Incapable { .. } => "incapable",
            Self::Version { .. } => "version",
            Self::Resting { kind: RestKind::Busy, .. } => "busy",
            Self::Resting { kind: RestKind::Suspended, .. } => "suspended",
            Self::Resting { kind: RestKind::Convicted, .. } => "convicted",
            Self::Late { .. } => "late",
            Self::Overdue { .. } => "overdue",
            Self::Unquoted => "unquoted",
            Self::OwnFirst => "own_first",
            Self::HasHome => "has_home",
            Self::NotDrawn => "not_drawn",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlisted => write!(f, "not on the newest list of orchestrators"),
            Self::Blocked(entry) => write!(f, "blocked by {entry:?} (setting broadcaster.discovery.blocklist)"),
            Self::Stake { got, least } => {
                write!(f, "stake {got} LPT wei is below {least} (setting broadcaster.discovery.minimum_stake)")
            }
            Self::Region { wanted } => {
                write!(f, "serves none of the regions {wanted} (setting broadcaster.discovery.regions)")
            }
            Self::Service { wanted } => {
                write!(f, "does not offer {wanted} (setting broadcaster.discovery.service)")
            }
            Self::Price { got, max } => {
                write!(f, "price {got} is more than the maximum {max} (setting broadcaster.payment.max_price)")
            }
            Self::Incapable { lacks } if lacks.is_empty() => {
                write!(f, "insists on capabilities that the renditions do not need (setting broadcaster.profiles)")
            }
            Self::Incapable { lacks } => {
                let lacks: Vec<String> = lacks.iter().map(u32::to_string).collect();
                write!(
                    f,
                    "lacks the capabilities {} that the renditions need (setting broadcaster.profiles)",
                    lacks.join(", ")
                )
            }
            Self::Version { got, least } if got.is_empty() => {
                write!(f, "tells no version, {least} is wanted (setting broadcaster.discovery.min_version)")
            }
            Self::Version { got, least } => {
                write!(f, "version {got} is older than {least} (setting broadcaster.discovery.min_version)")
            }
            Self::Resting { kind, left, because } => {
                let word = match kind {
                    RestKind::Busy => "busy",
                    RestKind::Suspended => "suspended",
                    RestKind::Convicted => "convicted",
                };
                let left = seconds(*left);
                match because {
                    Some(because) => write!(f, "{word}, {left} more, after: {because}"),
                    None => write!(f, "{word}, {left} more"),
                }
            }
            Self::Late { predicted, deadline } => write!(
                f,
                "predicted {} > deadline {} (setting broadcaster.selection.deadline_percent)",
                seconds(*predicted),
                seconds(*deadline)
            ),
            Self::Overdue { age, expected } => write!(
                f,
                "stands still: its oldest segment has been under way for {}, {} was expected",
                seconds(*age),
                seconds(*expected)
            ),
            Self::Unquoted => write!(f, "has told no price yet"),
            Self::OwnFirst => write!(f, "one of our own comes first"),
            Self::HasHome => write!(f, "the stream stays where it is while that keeps the deadline"),
            Self::NotDrawn => write!(f, "usable; another one was drawn"),
        }
    }
}

/// How a candidate came to be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The stream was there already.
    Kept,
    /// Our own come first, by turns.
    Own,
    /// Drawn by the weights.
    Drawn { permille: u32, among: usize },
    /// All are late; it the least.
    LeastLate,
    /// All others are out; it rests, or failed before.
    NobodyElse,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => write!(f, "chosen: the stream stays with it"),
            Self::Own => write!(f, "chosen: our own come first, by turns"),
            Self::Drawn { permille, among } => {
                let (whole, tenth) = (permille / 10, permille % 10);
                write!(f, "chosen: drawn among {among} at {whole}.{tenth} % (setting broadcaster.selection.weights)")
            }
            Self::LeastLate => write!(f, "chosen: everybody is predicted to be late, it the least"),
            Self::NobodyElse => write!(f, "chosen: nobody else is left"),
        }
    }
}

/// 3.2 s; never 0.0 while something is left.
fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis().div_ceil(100);
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// What would happen to a stream's next segment.
#[derive(Clone, Debug, Serialize)]
pub struct ChoiceStatus {
    /// Who would get it; none when nobody may be used.
    pub orchestrator: Option<Url>,
    /// How often the stream changed its orchestrator.
    pub swaps: u64,
    /// Milliseconds that a segment may take.
    pub deadline_ms: u64,
    /// Those that were considered, the chosen one first.
    pub candidates: Vec<CandidateStatus>,
    /// Others that were considered and are not shown.
    pub unlisted: usize,
}

/// One candidate.
#[derive(Clone, Debug, Serialize)]
pub struct CandidateStatus {
    /// Its service URI.
    pub url: Url,
    /// Its account, if known.
    pub orchestrator: Option<Address>,
    /// Whether it is one of our own.
    pub own: bool,
    /// Whether it would get the segment.
    pub chosen: bool,
    /// `chosen`, or what kept it from being chosen, in one word.
    pub code: &'static str,
    /// The same for people, with both figures.
    pub why: String,
    /// `wei/pixels`.
    pub price: Option<String>,
    /// Milliseconds that it would take, as far as can be told.
    pub predicted_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_both_figures_and_the_setting() {
        let price = |wei| Price::new(wei, 1).unwrap();
        let (got, max) = (price(1200), price(1000));
        let late = Reason::Late { predicted: Duration::from_millis(2900), deadline: Duration::from_secs(2) };
        let told = [
            (Reason::Price { got, max }, ["1200/1", "1000/1", "broadcaster.payment.max_price"]),
            (late, ["predicted 2.9 s", "deadline 2.0 s", "broadcaster.selection.deadline_percent"]),
            (
                Reason::Stake { got: U256::from(5), least: U256::from(7) },
                ["stake 5", "below 7", "broadcaster.discovery.minimum_stake"],
            ),
            (
                Reason::Version { got: "0.7.9".to_owned(), least: "0.8.0".to_owned() },
                ["0.7.9", "0.8.0", "broadcaster.discovery.min_version"],
            ),
            (
                Reason::Overdue { age: Duration::from_millis(4100), expected: Duration::from_millis(600) },
                ["stands still", "for 4.1 s", "0.6 s was expected"],
            ),
            (Reason::Incapable { lacks: vec![16, 20] }, ["16, 20", "renditions", "broadcaster.profiles"]),
        ];
        for (reason, parts) in told {
            let text = reason.to_string();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
        let (kind, because) = (RestKind::Suspended, Some("PixelMismatch".to_owned()));
        let resting = Reason::Resting { kind, left: Duration::from_millis(3150), because };
        assert_eq!(resting.to_string(), "suspended, 3.2 s more, after: PixelMismatch");
    }
}

//! Arguments of `bench transcode`.
use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use serde::Serialize;
use streamflow_media::{
    MAX_RENDITIONS,
    benchmark::{benchmark_ladder, benchmark_rung},
};
use streamflow_types::Profile;

use super::devnet::duration_within;
use crate::exit::Usage;

/// Those of libx264, from fast to slow.
const PRESETS: [&str; 10] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];
/// More is not kept in memory, with all that is made of it.
const LONGEST: Duration = Duration::from_secs(300);
/// Most sessions at a time.
const SESSIONS: std::ops::RangeInclusive<usize> = 1..=1000;

/// What to measure, and on what.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  streamflow bench transcode --duration 40s
  streamflow bench transcode --json --csv runs.csv
  streamflow bench transcode --sessions 8 --preset veryfast
  streamflow bench transcode --soak 20000
  streamflow bench transcode --sessions 4 --pacing flat-out --ladder 1280x720@3000,640x360@900")]
pub struct BenchTranscodeArgs {
    /// Clip, looped, or folder of segments NAME.ts in the order of their numbers; without it, the clip of the project
    #[arg(long, value_name = "PATH")]
    pub input: Option<PathBuf>,
    /// How much of it, 2s to 5m
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = clip_duration)]
    pub duration: Duration,
    /// Renditions as WIDTHxHEIGHT@KBIT/S; without it, 1280x720@3000,854x480@1500,640x360@900
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = rung)]
    pub ladder: Vec<Profile>,
    /// Presets of libx264; without it, medium,veryfast for the comparison, else the configured one
    #[arg(long = "preset", value_name = "LIST", value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(PRESETS))]
    pub presets: Vec<String>,
    /// What to compare with; without it, ffmpeg, or nothing with --sessions and --soak
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub versus: Option<Versus>,
    /// Rounds of the comparison, in which all sides take turns; medians count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Segments of a stream in the workers at a time; without it, one more than there are workers
    #[arg(long, value_name = "N", value_parser = at_a_time)]
    pub in_flight: Option<usize>,
    /// Play 1 to N sessions at a time, until they are no longer in real time
    #[arg(long, value_name = "N", value_parser = at_a_time)]
    pub sessions: Option<usize>,
    /// How sessions send what they have
    #[arg(long, value_enum, value_name = "HOW", default_value_t = SessionPacing::Live)]
    pub pacing: SessionPacing,
    /// Transcode N short segments, and watch the memory of the workers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(20..=1_000_000))]
    pub soak: Option<u64>,
    /// Write every single measurement to FILE, as comma-separated values
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

/// The yardstick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Versus {
    /// The ffmpeg program: one process for each segment, and one for the whole clip
    Ffmpeg,
    /// Nothing
    None,
}

/// How a session sends its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionPacing {
    /// Each segment when it is complete, in real time
    Live,
    /// Each picture at its time; a segment has a worker from its first picture on
    Stream,
    /// The next segment as soon as the last is done
    FlatOut,
}

impl BenchTranscodeArgs {
    /// The renditions to make.
    ///
    /// # Errors
    /// Too many, or the same twice.
    pub fn ladder(&self) -> Result<Vec<Profile>, Usage> {
        if self.ladder.is_empty() {
            return Ok(benchmark_ladder());
        }
        if self.ladder.len() > MAX_RENDITIONS {
            return Err(Usage(format!("--ladder: {} renditions, {MAX_RENDITIONS} are possible", self.ladder.len())));
        }
        for (index, rung) in self.ladder.iter().enumerate() {
            if self.ladder[..index].iter().any(|before| before.name == rung.name) {
                return Err(Usage(format!("--ladder: {} twice", rung.name)));
            }
        }
        Ok(self.ladder.clone())
    }
}

/// `1280x720@3000`.
fn rung(text: &str) -> Result<Profile, String> {
    let parts = text.split_once('@').and_then(|(size, kbit)| Some((size.split_once('x')?, kbit)));
    let numbers = parts.and_then(|((width, height), kbit)| {
        Some((width.parse().ok()?, height.parse().ok()?, kbit.parse::<u32>().ok()?))
    });
    let (width, height, kbit) = numbers.ok_or("WIDTHxHEIGHT@KBIT/S is expected, such as 1280x720@3000")?;
    let name = format!("{height}p{kbit}k");
    benchmark_rung(&name, width, height, kbit.saturating_mul(1000)).map_err(|error| error.to_string())
}

fn clip_duration(text: &str) -> Result<Duration, String> {
    duration_within(text, LONGEST)
}

fn at_a_time(text: &str) -> Result<usize, String> {
    let (least, most) = SESSIONS.into_inner();
    text.parse().ok().filter(|count| (least..=most).contains(count)).ok_or(format!("{least} to {most} are possible"))
}

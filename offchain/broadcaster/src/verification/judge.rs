//! The rules: what looks odd, and what no honest encoder does.
//!
//! Odd is cheap to be: a poor encoder at a low bitrate is odd too. A verdict needs a re-encode of the same segment, with the
//! fastest preset, that does far better.
use streamflow_media::{Comparison, SegmentInfo};

use super::{Evidence, VerificationConfig};

/// Coded bytes that may be the source's, of a thousand. No encoder makes the same packet as another from other options.
const MOST_COPIED: u32 = 500;
/// Moments of another picture or of one colour, of a thousand, that are odd, and that convict.
const ODD_MOMENTS: u32 = 50;
const GUILTY_MOMENTS: u32 = 100;
/// Steps without a movement, of a thousand, that are odd, and that convict.
const ODD_STILL: u32 = 300;
const GUILTY_STILL: u32 = 500;
/// Fewer movements than these say nothing.
const LEAST_MOVING: u32 = 5;
/// Detail of a re-encode below which lost detail says nothing, of a thousand.
const LEAST_DETAIL: u32 = 200;
/// Part of a re-encode's detail below which it was never encoded, of a thousand. Where the source was scaled, scalers differ.
const GUILTY_DETAIL: u32 = 600;
const GUILTY_DETAIL_SCALED: u32 = 400;
/// Decibels below which a picture is bad whatever it shows, and by how many a re-encode must be better.
const GUILTY_PSNR_DB: f64 = 30.0;
const GUILTY_PSNR_GAP_DB: f64 = 8.0;

/// What about a rendition calls for a second look, if anything does.
pub(super) fn doubt(seen: &Comparison, config: &VerificationConfig) -> Option<&'static str> {
    let odd = [
        ("copied", seen.copied_permille > MOST_COPIED),
        ("flat", permille(seen.flat, seen.textured) > ODD_MOMENTS),
        ("foreign", permille(seen.foreign, seen.steps) > ODD_MOMENTS),
        ("frozen", seen.moving >= LEAST_MOVING && permille(seen.frozen, seen.moving) > ODD_STILL),
        ("unaligned", seen.compared == 0),
        ("psnr", seen.psnr < f64::from(config.odd_psnr_db)),
        ("detail", thousandths(seen.detail).is_some_and(|detail| detail < config.odd_detail_permille)),
    ];
    odd.into_iter().find(|(_, holds)| *holds).map(|(doubt, _)| doubt)
}

/// What convicts without a re-encode.
pub(super) fn proof(seen: &Comparison) -> Option<Evidence> {
    let copied = seen.copied_permille;
    (copied > MOST_COPIED).then_some(Evidence::SourceReturned { copied, most: MOST_COPIED })
}

/// What a re-encode of the same profile, compared by the same frames, convicts of.
pub(super) fn convict(seen: &Comparison, honest: &Comparison, source: &SegmentInfo) -> Option<Evidence> {
    let guilty = |part, of, honest_part, honest_of, limit| {
        permille(part, of) > limit && permille(honest_part, honest_of) * 4 < permille(part, of)
    };
    if guilty(seen.flat, seen.textured, honest.flat, honest.textured, GUILTY_MOMENTS) {
        let (shown, of, honest) = (seen.flat, seen.textured, honest.flat);
        let black = seen.black * 2 >= seen.flat;
        return Some(if black { Evidence::Black { shown, of, honest } } else { Evidence::Flat { shown, of, honest } });
    }
    let moves = seen.moving >= LEAST_MOVING;
    if moves && guilty(seen.frozen, seen.moving, honest.frozen, honest.moving, GUILTY_STILL) {
        return Some(Evidence::Frozen { frozen: seen.frozen, moving: seen.moving, honest: honest.frozen });
    }
    if guilty(seen.foreign, seen.steps, honest.foreign, honest.steps, GUILTY_MOMENTS)
        || (seen.compared == 0 && honest.compared > 0)
    {
        return Some(Evidence::Foreign { foreign: seen.foreign, steps: seen.steps, honest: honest.foreign });
    }
    let info = &seen.inspection.info;
    let scaled = (info.width, info.height) != (source.width, source.height);
    let limit = if scaled { GUILTY_DETAIL_SCALED } else { GUILTY_DETAIL };
    if let (Some(detail), Some(best)) = (thousandths(seen.detail), thousandths(honest.detail))
        && best >= LEAST_DETAIL
        && detail * 1000 < best * limit
    {
        return Some(Evidence::Upscaled { detail, honest: best });
    }
    let poor = seen.psnr < GUILTY_PSNR_DB && seen.psnr + GUILTY_PSNR_GAP_DB < honest.psnr;
    poor.then(|| Evidence::Poor { psnr: whole(seen.psnr), honest: whole(honest.psnr) })
}

fn permille(part: u32, of: u32) -> u32 {
    u32::try_from(u64::from(part) * 1000 / u64::from(of.max(1))).unwrap_or(u32::MAX)
}

fn thousandths(part: Option<f64>) -> Option<u32> {
    part.map(|part| whole(part * 1000.0))
}

/// Rounded; what is negative counts as nothing.
fn whole(figure: f64) -> u32 {
    figure.round().clamp(0.0, 100_000.0) as u32
}

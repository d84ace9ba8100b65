//! How much of a clip's pictures its renditions keep.
use bytes::Bytes;
use tokio::task::JoinSet;

use super::{BenchmarkError, Clip};
use crate::{Quality, WorkerPool};

/// Of one rendition against the source, over all its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RenditionQuality {
    /// Peak signal-to-noise ratio of the mean error over all planes, in decibels.
    pub psnr: f64,
    /// Structural similarity over all planes, 1 for equal pictures.
    pub ssim: f64,
}

/// Measures what [`super::LadderRun::renditions`] has, one segment for each of the clip, `at_once` of them at a time.
///
/// # Errors
/// A rendition cannot be decoded, or shows nothing of its source.
pub async fn measure_quality(
    pool: &WorkerPool,
    clip: &Clip,
    renditions: &[Vec<Bytes>],
    at_once: usize,
) -> Result<Vec<RenditionQuality>, BenchmarkError> {
    let pairs = renditions.iter().enumerate().flat_map(|(index, made)| {
        clip.segments().iter().zip(made).map(move |(source, made)| (index, source.bytes.clone(), made.clone()))
    });
    let mut waiting = pairs;
    let mut sums = vec![Sum::default(); renditions.len()];
    let mut running = JoinSet::new();
    loop {
        while running.len() < at_once.max(1) {
            let Some((index, source, made)) = waiting.next() else { break };
            let pool = pool.clone();
            running.spawn(async move { pool.quality(source, made).await.map(|quality| (index, quality)) });
        }
        let Some(done) = running.join_next().await else { break };
        let (index, quality) = done??;
        sums[index].add(&quality);
    }
    Ok(sums.iter().map(Sum::mean).collect())
}

/// Segments count by their frames.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    frames: f64,
    mse: f64,
    ssim: f64,
}

impl Sum {
    fn add(&mut self, quality: &Quality) {
        let frames = quality.frames as f64;
        self.frames += frames;
        self.mse += frames * quality.mse.all;
        self.ssim += frames * quality.ssim.all;
    }

    fn mean(&self) -> RenditionQuality {
        let psnr = 10.0 * (255.0 * 255.0 * self.frames / self.mse).log10();
        RenditionQuality { psnr, ssim: self.ssim / self.frames }
    }
}

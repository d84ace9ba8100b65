//! What theory says. Floating point: nothing here decides about money, or about what happens in a run.

/// Standard deviations on either side that hold 99 % of a normal distribution.
pub(crate) const Z_99: f64 = 2.575_829_303_548_901;

pub(crate) fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len().max(1) as f64
}

/// Standard deviation of the population that the samples are from, over their mean.
pub(crate) fn relative_deviation(samples: &[f64]) -> f64 {
    let mean = mean(samples);
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (squares / samples.len().saturating_sub(1).max(1) as f64).sqrt() / mean
}

/// Relative standard deviation of the income from `n` tickets that win with probability `p`: sqrt((1 − p) / (n · p)).
pub(crate) fn income_deviation(n: u64, p: f64) -> f64 {
    ((1.0 - p) / (n as f64 * p)).sqrt()
}

/// Where 99 % of measured deviations are, as multiples of the true one, when `samples` incomes are compared. Exact for
/// normal incomes, up to Wilson and Hilferty's approximation of χ².
pub(crate) fn deviation_interval(samples: usize) -> [f64; 2] {
    let freedom = samples.saturating_sub(1).max(1) as f64;
    [-Z_99, Z_99].map(|z| {
        let spread = 2.0 / (9.0 * freedom);
        (1.0 - spread + z * spread.sqrt()).max(0.0).powi(3).sqrt()
    })
}

/// The narrowest numbers of winners `lo..=hi` with at most half a percent of chance below and above, of `n` tickets that win
/// with probability `p`. Binomial, without an approximation but that of floating point.
pub(crate) fn winners_99(n: u64, p: f64) -> [u64; 2] {
    // Chances relative to that of the most likely number, from which each follows from its neighbour.
    let mode = ((n + 1) as f64 * p).floor().min(n as f64) as u64;
    let odds = p / (1.0 - p);
    let mut chances = vec![0.0; n as usize + 1];
    chances[mode as usize] = 1.0;
    for k in mode..n {
        chances[k as usize + 1] = chances[k as usize] * odds * (n - k) as f64 / (k + 1) as f64;
    }
    for k in (1..=mode).rev() {
        chances[k as usize - 1] = chances[k as usize] * k as f64 / (odds * (n - k + 1) as f64);
    }
    let tail = 0.005 * chances.iter().sum::<f64>();
    let cut = |chances: &mut dyn Iterator<Item = &f64>| {
        let mut below = 0.0;
        chances
            .take_while(|chance| {
                below += **chance;
                below <= tail
            })
            .count() as u64
    };
    [cut(&mut chances.iter()), n - cut(&mut chances.iter().rev())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn winners_of_a_fair_coin() {
        // scipy.stats.binom(100, 0.5): ppf(0.005) = 37, ppf(0.995) = 63
        assert_eq!(winners_99(100, 0.5), [37, 63]);
        assert_eq!(winners_99(1, 0.5), [0, 1]);
        // binom(1000, 0.01): ppf(0.005) = 3, ppf(0.995) = 19
        assert_eq!(winners_99(1_000, 0.01), [3, 19]);
    }

    #[test]
    fn deviation_of_known_samples() {
        assert!((relative_deviation(&[1.0, 2.0, 3.0]) - 0.5).abs() < 1e-12);
        assert!((income_deviation(100, 0.5) - 0.1).abs() < 1e-12);
        // χ² with 39 degrees of freedom: 0.5 % at 19.996, 99.5 % at 65.476
        let [low, high] = deviation_interval(40);
        assert!((low - (19.996_f64 / 39.0).sqrt()).abs() < 2e-3, "{low}");
        assert!((high - (65.476_f64 / 39.0).sqrt()).abs() < 2e-3, "{high}");
    }
}

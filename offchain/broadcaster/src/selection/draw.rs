//! The draw by weights (node.md §5.4): each weight is a share of probability, dealt out by its own measure.
use alloy_primitives::U256;
use streamflow_types::Price;

use super::Weights;

/// What the weights look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    pub(crate) price: Option<Price>,
    /// LPT wei.
    pub(crate) stake: U256,
    /// Mean time for a segment over its length.
    pub(crate) latency: Option<f64>,
    /// Share of segments that succeeded.
    pub(crate) success: f64,
}

/// The probability of each, adding up to 1. A measure that is zero for all decides nothing: its share goes to all alike.
pub(crate) fn probabilities(chances: &[Chance], weights: Weights, price_scale: Price) -> Vec<f64> {
    let scale = wei_per_pixel(price_scale);
    let known = chances.iter().filter_map(|chance| chance.latency);
    let (sum, count) = known.fold((0.0, 0.0), |(sum, count), latency| (sum + latency, count + 1.0));
    // Who was never measured is taken for average.
    let average = if count > 0.0 { sum / count } else { 1.0 };
    let measures: [(u32, Vec<f64>); 5] = [
        (weights.price, chances.iter().map(|c| c.price.map_or(0.0, |p| (-wei_per_pixel(p) / scale).exp())).collect()),
        (weights.stake, chances.iter().map(|c| f64::from(c.stake)).collect()),
        (weights.latency, chances.iter().map(|c| 1.0 / c.latency.unwrap_or(average).max(0.001)).collect()),
        (weights.history, chances.iter().map(|c| c.success).collect()),
        (weights.random, vec![1.0; chances.len()]),
    ];
    let mut shares = vec![0.0; chances.len()];
    for (weight, measure) in measures {
        let total: f64 = measure.iter().sum();
        let alike = 1.0 / chances.len() as f64;
        for (share, value) in shares.iter_mut().zip(measure) {
            *share += f64::from(weight) * if total > 0.0 { value / total } else { alike };
        }
    }
    let total: f64 = shares.iter().sum();
    shares.iter().map(|share| if total > 0.0 { share / total } else { 0.0 }).collect()
}

/// The index that `point`, from 0 up to 1, falls on; `None` without any.
pub(crate) fn draw(probabilities: &[f64], point: f64) -> Option<usize> {
    let mut sum = 0.0;
    let found = probabilities.iter().position(|probability| {
        sum += probability;
        point < sum
    });
    found.or_else(|| probabilities.iter().rposition(|probability| *probability > 0.0))
}

fn wei_per_pixel(price: Price) -> f64 {
    price.wei_per_unit() as f64 / price.pixels_per_unit() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Weights = Weights { price: 0, latency: 0, stake: 0, history: 0, random: 0 };

    fn chances(prices: &[u64], stakes: &[u64]) -> Vec<Chance> {
        let both = prices.iter().zip(stakes);
        let chance = |(price, stake): (&u64, &u64)| Chance {
            price: Price::new(*price, 1).ok(),
            stake: U256::from(*stake),
            latency: None,
            success: 1.0,
        };
        both.map(chance).collect()
    }

    fn rounded(chances: &[Chance], weights: Weights) -> Vec<String> {
        let scale = Price::new(100, 1).unwrap();
        probabilities(chances, weights, scale).iter().map(|p| format!("{p:.6}")).collect()
    }

    /// node.md §11.5.
    #[test]
    fn vectors_of_the_draw() {
        let both = Weights { stake: 30, price: 70, ..NONE };
        let drawn = rounded(&chances(&[400, 700, 1000], &[100, 100_000, 300]), both);
        assert_eq!(drawn, ["0.665530", "0.331925", "0.002545"]);
        let price = Weights { price: 100, ..NONE };
        assert_eq!(rounded(&chances(&[1, 1, 100_000_000], &[0; 3]), price), ["0.500000", "0.500000", "0.000000"]);
        let stake = Weights { stake: 100, ..NONE };
        assert_eq!(rounded(&chances(&[1; 3], &[100, 100, 800]), stake), ["0.100000", "0.100000", "0.800000"]);
    }

    #[test]
    fn a_measure_that_is_zero_for_all_leaves_all_alike() {
        let stake = Weights { stake: 100, ..NONE };
        assert_eq!(rounded(&chances(&[1; 2], &[0; 2]), stake), ["0.500000"; 2]);
        let price = Weights { price: 100, ..NONE };
        assert_eq!(rounded(&chances(&[u64::MAX >> 1; 2], &[0; 2]), price), ["0.500000"; 2]);
    }

    #[test]
    fn the_faster_and_the_more_reliable_are_likelier() {
        let mut two = chances(&[1; 2], &[1; 2]);
        (two[0].latency, two[1].latency) = (Some(0.25), Some(0.75));
        assert_eq!(rounded(&two, Weights { latency: 100, ..NONE }), ["0.750000", "0.250000"]);
        (two[0].success, two[1].success) = (0.9, 0.1);
        assert_eq!(rounded(&two, Weights { history: 100, ..NONE }), ["0.900000", "0.100000"]);
    }

    #[test]
    fn every_point_falls_on_somebody() {
        assert_eq!(draw(&[0.5, 0.5], 0.0), Some(0));
        assert_eq!(draw(&[0.5, 0.5], 0.5), Some(1));
        assert_eq!(draw(&[0.5, 0.5, 0.0], 0.999_999_999_999), Some(1));
        assert_eq!(draw(&[0.3, 0.3], 0.9), Some(1), "what rounding leaves over");
        assert_eq!(draw(&[], 0.5), None);
    }
}

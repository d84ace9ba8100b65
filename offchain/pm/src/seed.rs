//! What the sender's echo of a quote tells its maker.
use alloy_primitives::U256;

/// Seed of a quote: epoch 64 bits | serial 64 | random 128. All of it is bound by the secret number, so a sender that
/// changes a bit holds a seed that nothing was quoted with.
///
/// The epoch tells a process the quotes of its own. Nobody can choose or change one, so 64 bits are enough: a wrong
/// match takes two processes that draw alike, within the life of one quote. The random half keeps quotes on equal terms
/// apart that have no serial; 128 bits, as there is no bound on how many are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(pub(crate) U256);

impl Seed {
    /// Serial of quotes that stay out of the order.
    pub(crate) const NO_SERIAL: u64 = 0;

    /// The seed of this process for a serial, the rest from `random`.
    pub(crate) fn new(epoch: u64, serial: u64, random: U256) -> Self {
        let [low, high, ..] = *random.as_limbs();
        Self(U256::from_limbs([low, high, serial, epoch]))
    }

    pub(crate) fn epoch(self) -> u64 {
        self.0.as_limbs()[3]
    }

    /// None in quotes that stay out of the order. Quotes made before there were serials have random bits here.
    pub(crate) fn serial(self) -> Option<u64> {
        Some(self.0.as_limbs()[2]).filter(|serial| *serial != Self::NO_SERIAL)
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::uint;

    use super::*;

    #[test]
    fn every_part_has_its_place() {
        let seed = Seed::new(0x1111, 0x2222, U256::MAX);
        assert_eq!(seed.0, uint!(0x00000000000011110000000000002222ffffffffffffffffffffffffffffffff_U256));
        assert_eq!((seed.epoch(), seed.serial()), (0x1111, Some(0x2222)));
        assert_eq!(Seed::new(1, 0, U256::MAX).serial(), None);
    }
}

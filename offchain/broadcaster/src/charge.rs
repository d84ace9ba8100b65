//! What an orchestrator may charge for a stream without a result (docs/designs/038-streaming-wire.md).
use streamflow_pm::is_credible_bill;
use streamflow_wire::{Code, stream::StreamFailure};

/// A stream that ended with a failure.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) failure: StreamFailure,
    /// Whether any piece came before it.
    pub(crate) any_piece: bool,
    /// Whether this node ended the segment without a trailer.
    pub(crate) broken_off: bool,
}

/// Why a charge is a lie. Both figures are in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChargeError {
    /// Nothing came that could cost anything.
    #[error("{charged} pixels were charged for a stream of which no rendition has come")]
    Nothing {
        /// Pixels.
        charged: u64,
    },
    /// For a fault that is its own, or that this node knows it did not commit.
    #[error("{charged} pixels were charged for {}, which costs nothing here", told(*code))]
    Blameless {
        /// Pixels.
        charged: u64,
        /// What it says went wrong.
        code: Option<Code>,
    },
    /// More than any segment of its length costs.
    #[error("{charged} pixels were charged for a segment of {estimate}")]
    TooMuch {
        /// Pixels.
        charged: u64,
        /// Pixels that the segment will about have.
        estimate: u64,
    },
}

fn told(code: Option<Code>) -> String {
    code.map_or_else(|| "no reason".to_owned(), |code| code.to_string())
}

impl Failed {
    /// Pixels that the failure costs, of a segment of about `estimate` pixels.
    pub(crate) fn charged(&self, estimate: u64) -> Result<u64, ChargeError> {
        let charged = self.failure.charged;
        let code = self.failure.refusal.as_ref().map(|refusal| refusal.code);
        match charged {
            0 => Ok(0),
            _ if !self.any_piece => Err(ChargeError::Nothing { charged }),
            _ if !code.is_some_and(|code| may_be_ours(code) || self.cut_off(code)) => {
                Err(ChargeError::Blameless { charged, code })
            }
            _ if !is_credible_bill(estimate, charged) => Err(ChargeError::TooMuch { charged, estimate }),
            charged => Ok(charged),
        }
    }

    /// Whether it is of a segment that this node broke off.
    fn cut_off(&self, code: Code) -> bool {
        self.broken_off && code == Code::SegmentCutOff
    }
}

/// Whether a segment that was sent whole may fail of this for its own sake. What came was ours, frames, length and trailer.
fn may_be_ours(code: Code) -> bool {
    matches!(
        code,
        Code::SegmentFormatDidntMatchJobInputParams
            | Code::PixelsBeyondEstimate
            | Code::MemoryFull
            | Code::SegmentTooLarge
            | Code::SegmentTooSlow
    )
}

#[cfg(test)]
mod tests {
    use streamflow_wire::Refusal;

    use super::*;

    fn failed(code: Option<Code>, charged: u64, any_piece: bool) -> Failed {
        let refusal = code.map(|code| Refusal::new(code, "a", "b"));
        let failure = StreamFailure { text: String::new(), refusal, charged, info: None };
        Failed { failure, any_piece, broken_off: false }
    }

    fn charged(code: Option<Code>, charged: u64, any_piece: bool) -> Result<u64, ChargeError> {
        failed(code, charged, any_piece).charged(100)
    }

    #[test]
    fn who_breaks_off_pays_for_what_has_left() {
        let broken_off = |code| Failed { broken_off: true, ..failed(Some(code), 100, true) }.charged(100);
        assert_eq!(broken_off(Code::SegmentCutOff), Ok(100));
        let code = Some(Code::StreamTrailerWrong);
        assert_eq!(broken_off(Code::StreamTrailerWrong), Err(ChargeError::Blameless { charged: 100, code }));
    }

    #[test]
    fn a_bad_segment_costs_up_to_twice_the_estimate_if_anything_came() {
        let bad = Some(Code::SegmentFormatDidntMatchJobInputParams);
        assert_eq!(charged(bad, 200, true), Ok(200));
        assert_eq!(charged(bad, 201, true), Err(ChargeError::TooMuch { charged: 201, estimate: 100 }));
        assert_eq!(charged(bad, 1, false), Err(ChargeError::Nothing { charged: 1 }));
    }

    #[test]
    fn what_the_sender_knows_to_be_right_and_what_the_orchestrator_broke_cost_nothing() {
        let lies = [
            Code::StreamTrailerWrong,
            Code::StreamUnreadable,
            Code::SegmentCutOff,
            Code::TranscoderFailed,
            Code::OrchestratorBusy,
            Code::TranscoderStopped,
        ];
        for code in lies.map(Some).into_iter().chain([None]) {
            assert_eq!(charged(code, 1, true), Err(ChargeError::Blameless { charged: 1, code }));
            assert_eq!(charged(code, 0, true), Ok(0));
        }
    }
}

//! The contract calls that roles and the command line make, as intents.
use alloy::{
    primitives::{Address, Bytes, U256},
    sol_types::SolValue,
};
use streamflow_bindings::{AddressBook, BondingManager, LivepeerToken, RoundsManager, ServiceRegistry, TicketBroker};
use streamflow_types::{Ppm, Ticket, WinningTicket};

use crate::TxIntent;

/// Builds intents for one deployment. Amounts of ETH and LPT are in wei.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    contracts: AddressBook,
}

impl Calls {
    /// For the contracts at these addresses.
    pub const fn new(contracts: AddressBook) -> Self {
        Self { contracts }
    }

    /// Adds to the caller's deposit and reserve, and cancels its unlock.
    pub fn fund(&self, deposit: U256, reserve: U256) -> TxIntent {
        let call = TicketBroker::fundDepositAndReserveCall { depositAmount: deposit, reserveAmount: reserve };
        self.broker("fund", &call).with_value(deposit.saturating_add(reserve))
    }

    /// Adds `amount` to the reserve that pays tickets of `recipient` alone.
    pub fn commit_reserve(&self, recipient: Address, amount: U256) -> TxIntent {
        self.broker("commit reserve", &TicketBroker::commitReserveCall { recipient }).with_value(amount)
    }

    /// Starts to take `amount` of what is committed to `recipient` back; zero stops that.
    pub fn release_reserve(&self, recipient: Address, amount: U256) -> TxIntent {
        self.broker("release reserve", &TicketBroker::releaseReserveCall { recipient, amount })
    }

    /// Sends the caller what it has released of the commitment to `recipient`.
    pub fn withdraw_released_reserve(&self, recipient: Address) -> TxIntent {
        self.broker("withdraw released reserve", &TicketBroker::withdrawReleasedReserveCall { recipient })
    }

    /// Starts the time lock after which the caller may withdraw.
    pub fn unlock(&self) -> TxIntent {
        self.broker("unlock", &TicketBroker::unlockCall {})
    }

    /// Locks the caller's funds again.
    pub fn cancel_unlock(&self) -> TxIntent {
        self.broker("cancel unlock", &TicketBroker::cancelUnlockCall {})
    }

    /// Sends the caller its unlocked deposit and reserve.
    pub fn withdraw(&self) -> TxIntent {
        self.broker("withdraw", &TicketBroker::withdrawCall {})
    }

    /// Redeems one winning ticket. Reveals its secret.
    pub fn redeem(&self, winner: &WinningTicket) -> TxIntent {
        self.broker("redeem ticket", &redeem_call(winner))
    }

    /// Redeems several; one that cannot be redeemed is skipped and told by an event. Reveals their secrets.
    pub fn redeem_batch<'a>(&self, winners: impl Iterator<Item = &'a WinningTicket> + Clone) -> TxIntent {
        let call = TicketBroker::batchRedeemWinningTicketsCall {
            tickets: winners.clone().map(|winner| on_chain(&winner.signed.ticket)).collect(),
            sigs: winners.clone().map(signature).collect(),
            recipientRands: winners.map(|winner| winner.recipient_rand).collect(),
        };
        self.broker("redeem tickets", &call)
    }

    /// Redeems marked winners of one recipient in their order. Reveals their secrets.
    pub fn redeem_ordered(&self, call: &TicketBroker::redeemOrderedTicketsCall) -> TxIntent {
        self.broker("redeem tickets in order", call)
    }

    /// Names who may redeem in order for the caller, besides the caller itself; zero = nobody.
    pub fn set_redeemer(&self, redeemer: Address) -> TxIntent {
        self.broker("set redeemer", &TicketBroker::setRedeemerCall { redeemer })
    }

    /// Lets BondingManager take `amount` of the caller's LPT; needed before [`Calls::bond`].
    pub fn approve_bond(&self, amount: U256) -> TxIntent {
        let call = LivepeerToken::approveCall { spender: self.contracts.bonding_manager, value: amount };
        TxIntent::call("approve", self.contracts.livepeer_token, &call)
    }

    /// Stakes `amount` of LPT towards `to`.
    pub fn bond(&self, amount: U256, to: Address) -> TxIntent {
        self.staking("bond", &BondingManager::bondCall { amount, to })
    }

    /// Starts to take `amount` of LPT out of the stake.
    pub fn unbond(&self, amount: U256) -> TxIntent {
        self.staking("unbond", &BondingManager::unbondCall { amount })
    }

    /// Puts the stake of an unbonding lock back to the caller's delegate.
    pub fn rebond(&self, lock: U256) -> TxIntent {
        self.staking("rebond", &BondingManager::rebondCall { unbondingLockId: lock })
    }

    /// Sends the caller the stake of a lock that has expired.
    pub fn withdraw_stake(&self, lock: U256) -> TxIntent {
        self.staking("withdraw stake", &BondingManager::withdrawStakeCall { unbondingLockId: lock })
    }

    /// Books rewards and fees up to the current round.
    pub fn claim_earnings(&self) -> TxIntent {
        // The round is ignored by the contract (contracts.md §3.1).
        self.staking("claim earnings", &BondingManager::claimEarningsCall(U256::ZERO))
    }

    /// Sends `amount` of the caller's fees to `recipient`.
    pub fn withdraw_fees(&self, recipient: Address, amount: U256) -> TxIntent {
        self.staking("withdraw fees", &BondingManager::withdrawFeesCall { recipient, amount })
    }

    /// Sets the caller's commission: its part of rewards, and its delegators' part of fees.
    pub fn set_commission(&self, reward_cut: Ppm, fee_share: Ppm) -> TxIntent {
        let call = BondingManager::transcoderCall {
            rewardCut: U256::from(reward_cut.get()),
            feeShare: U256::from(fee_share.get()),
        };
        self.staking("set commission", &call)
    }

    /// Mints the caller's reward of the round.
    pub fn reward(&self) -> TxIntent {
        self.staking("reward", &BondingManager::rewardCall {})
    }

    /// Publishes where the caller listens.
    pub fn set_service_uri(&self, uri: &str) -> TxIntent {
        let call = ServiceRegistry::setServiceURICall { serviceURI: uri.to_owned() };
        TxIntent::call("set service URI", self.contracts.service_registry, &call)
    }

    /// Starts the current round.
    pub fn initialize_round(&self) -> TxIntent {
        TxIntent::call("initialize round", self.contracts.rounds_manager, &RoundsManager::initializeRoundCall {})
    }

    fn broker(&self, label: &'static str, call: &impl alloy::sol_types::SolCall) -> TxIntent {
        TxIntent::call(label, self.contracts.ticket_broker, call)
    }

    fn staking(&self, label: &'static str, call: &impl alloy::sol_types::SolCall) -> TxIntent {
        TxIntent::call(label, self.contracts.bonding_manager, call)
    }
}

/// The call of [`Calls::redeem`], for simulating it.
pub fn redeem_call(winner: &WinningTicket) -> TicketBroker::redeemWinningTicketCall {
    TicketBroker::redeemWinningTicketCall {
        ticket: on_chain(&winner.signed.ticket),
        sig: signature(winner),
        recipientRand: winner.recipient_rand,
    }
}

/// The ticket as TicketBroker takes it: `auxData` is creation round and its block hash (contracts.md §2.3), in a bound ticket
/// the deployment's tag as well.
fn on_chain(ticket: &Ticket) -> TicketBroker::Ticket {
    TicketBroker::Ticket {
        recipient: ticket.recipient,
        sender: ticket.sender,
        faceValue: ticket.face_value,
        winProb: ticket.win_prob.0,
        senderNonce: U256::from(ticket.sender_nonce),
        recipientRandHash: ticket.recipient_rand_hash,
        auxData: aux_data(ticket),
    }
}

fn aux_data(ticket: &Ticket) -> Bytes {
    let round = U256::from(ticket.creation_round.0);
    match ticket.deployment {
        None => (round, ticket.creation_round_block_hash).abi_encode().into(),
        Some(tag) => (round, ticket.creation_round_block_hash, tag).abi_encode().into(),
    }
}

fn signature(winner: &WinningTicket) -> Bytes {
    winner.signed.sig.as_bytes().to_vec().into()
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, keccak256};
    use streamflow_types::{Round, WinProb};

    use super::*;

    /// contracts.md §2.3: the hash is over 232 packed bytes, the last 64 of which are `auxData`.
    #[test]
    fn ticket_on_chain_packs_to_232_bytes() {
        let ticket = Ticket {
            recipient: Address::repeat_byte(1),
            sender: Address::repeat_byte(2),
            face_value: U256::from(3),
            win_prob: WinProb(U256::from(4)),
            sender_nonce: 5,
            recipient_rand_hash: B256::repeat_byte(6),
            creation_round: Round(7),
            creation_round_block_hash: B256::repeat_byte(8),
            deployment: None,
        };
        let packed = on_chain(&ticket).abi_encode_packed();
        assert_eq!(packed.len(), 232);
        let aux = [B256::from(U256::from(7)).to_vec(), vec![8; 32]].concat();
        assert!(packed.ends_with(&aux));
        assert_ne!(keccak256(&packed), B256::ZERO);
        let bound = Ticket { deployment: Some(B256::repeat_byte(9)), ..ticket };
        assert_eq!(on_chain(&bound).abi_encode_packed(), [packed, vec![9; 32]].concat());
    }
}

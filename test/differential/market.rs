//! The contracts and the model, side by side.
use std::collections::BTreeMap;

use alloy::{
    primitives::{Address, B256, FixedBytes, U256, keccak256},
    signers::{SignerSync, local::PrivateKeySigner},
    sol_types::{SolCall, SolValue},
};
use anyhow::{Context, Result, bail, ensure};
use revm::{database::InMemoryDB, database_interface::EmptyDB};
use streamflow_bindings::{
    AddressBook, BondingManager, Controller, LivepeerToken, Minter, RoundsManager, TicketBroker,
    ticket_broker::TicketBroker::Ticket,
};
use streamflow_evm::{LocalChain, Refusal};

use crate::{
    action::{ACCOUNTS, ANCHOR, Action, ROUND_LENGTH},
    model::{Account, Model, Orchestrator, Refused, Seen, Terms, Who},
};

pub(crate) const LPT: u128 = 10_u128.pow(18);
/// Of each account, and enough for the anchor.
const TOKENS: u128 = 500_000 * LPT;
const ANCHOR_TOKENS: u128 = 2_000_000 * LPT;
/// Wei that pay all tickets of a sequence.
const DEPOSIT: u128 = 10_u128.pow(27);
const CHAIN_ID: u64 = 31_337;

/// A deployment without any stake, and where a round begins.
#[derive(Clone, Debug)]
pub(crate) struct Deployed {
    pub(crate) state: InMemoryDB,
    pub(crate) contracts: AddressBook,
    pub(crate) deployer: Address,
    pub(crate) block: u64,
}

/// Both sides, and who acts.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) chain: LocalChain<EmptyDB>,
    pub(crate) contracts: AddressBook,
    pub(crate) model: Model,
    pub(crate) accounts: [Address; ACCOUNTS],
    owner: Address,
    verifier: Address,
    sender: PrivateKeySigner,
    tickets: u64,
    /// How often each call went through and was refused.
    pub(crate) tally: BTreeMap<&'static str, [u32; 2]>,
}

pub(crate) fn to_u128(number: U256) -> Result<u128> {
    u128::try_from(number).with_context(|| format!("{number} has more than 128 bits"))
}

impl Market {
    /// Gives everybody tokens, and reads the parameters.
    pub(crate) fn open(deployed: &Deployed) -> Result<Self> {
        let contracts = deployed.contracts;
        let mut chain = LocalChain::new(deployed.state.clone(), CHAIN_ID, deployed.block);
        let accounts = std::array::from_fn(|i| Address::from_word(keccak256([i as u8])));
        for (who, account) in accounts.into_iter().enumerate() {
            let value = U256::from(if who == ANCHOR { ANCHOR_TOKENS } else { TOKENS });
            let token = contracts.livepeer_token;
            chain.send(deployed.deployer, token, LivepeerToken::transferCall { to: account, value }, U256::ZERO)?;
            let approve = LivepeerToken::approveCall { spender: contracts.bonding_manager, value: U256::MAX };
            chain.send(account, token, approve, U256::ZERO)?;
        }
        let sender = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x5e))?;
        chain.set_balance(sender.address(), U256::from(DEPOSIT))?;
        chain.send(sender.address(), contracts.ticket_broker, TicketBroker::fundDepositCall {}, U256::from(DEPOSIT))?;
        let owner = chain.view(contracts.controller, Controller::ownerCall {})?;
        let model = model(&mut chain, &contracts)?;
        let verifier = Address::repeat_byte(0x7e);
        Ok(Self { chain, contracts, model, accounts, owner, verifier, sender, tickets: 0, tally: BTreeMap::new() })
    }

    /// Lets one thing happen on both sides. Both must allow it, or both refuse it for the same reason.
    pub(crate) fn apply(&mut self, action: Action) -> Result<()> {
        match action {
            Action::Bond { who, to, wei } => self.bond(who, to, wei),
            Action::Unbond { who, what } => {
                let mut seen = self.seen(who)?;
                let amount = what.of(seen.stake);
                let call = BondingManager::unbondCall { amount: U256::from(amount) };
                let done = self.stake(who, call, &mut seen)?;
                let expected = self.model.unbond(who, amount, seen);
                self.agree("unbond", done, expected)
            }
            Action::Rebond { lock } => {
                let (who, id, value) = self.pick_lock(lock)?;
                let mut seen = self.seen(who)?;
                let done =
                    self.stake(who, BondingManager::rebondCall { unbondingLockId: U256::from(id) }, &mut seen)?;
                let expected = self.model.rebond(who, id, value, seen);
                self.agree("rebond", done, expected)
            }
            Action::RebondFromUnbonded { to, lock } => {
                let (who, id, value) = self.pick_lock(lock)?;
                let mut seen = self.seen(who)?;
                let call =
                    BondingManager::rebondFromUnbondedCall { to: self.accounts[to], unbondingLockId: U256::from(id) };
                let done = self.stake(who, call, &mut seen)?;
                let expected = self.model.rebond_from_unbonded(who, to, id, value, seen);
                self.agree("rebondFromUnbonded", done, expected)
            }
            Action::WithdrawStake { lock } => {
                let (who, id, value) = self.pick_lock(lock)?;
                let mut seen = self.seen(who)?;
                let call = BondingManager::withdrawStakeCall { unbondingLockId: U256::from(id) };
                let done = self.stake(who, call, &mut seen)?;
                let expected = self.model.withdraw_stake(who, id, value);
                self.agree("withdrawStake", done, expected)
            }
            Action::WithdrawFees { who, what } => {
                let mut seen = self.seen(who)?;
                let amount = what.of(seen.fees);
                let recipient = Address::repeat_byte(0xfe);
                let before = self.chain.balance(recipient)?;
                let call = BondingManager::withdrawFeesCall { recipient, amount: U256::from(amount) };
                let done = self.stake(who, call, &mut seen)?;
                if done.is_ok() {
                    ensure!(self.chain.balance(recipient)? - before == U256::from(amount), "fees did not arrive");
                }
                let expected = self.model.withdraw_fees(who, amount, seen);
                self.agree("withdrawFees", done, expected)
            }
            Action::Claim { who } => {
                let mut seen = self.seen(who)?;
                let done = self.stake(who, BondingManager::claimEarningsCall(U256::MAX), &mut seen)?;
                let expected = self.model.claim(who, seen);
                self.agree("claimEarnings", done, expected)
            }
            Action::Reward { who } => self.reward(who),
            Action::SetCommissions { who, reward_cut, fee_share } => {
                let mut seen = self.seen(who)?;
                let call = BondingManager::transcoderCall {
                    rewardCut: U256::from(reward_cut),
                    feeShare: U256::from(fee_share),
                };
                let done = self.stake(who, call, &mut seen)?;
                let expected = self.model.set_commissions(who, reward_cut.into(), fee_share.into());
                self.agree("transcoder", done, expected)
            }
            Action::Ticket { to, wei, age } => self.redeem(to, wei, age),
            Action::Slash { who, finder, ppm, finder_ppm } => self.slash(who, finder, ppm, finder_ppm),
            Action::RegisterVerifier(registered) => {
                let call = Controller::setContractInfoCall {
                    id: keccak256("Verifier"),
                    contractAddress: if registered { self.verifier } else { Address::ZERO },
                    gitCommitHash: FixedBytes::ZERO,
                };
                self.chain.send(self.owner, self.contracts.controller, call, U256::ZERO)?;
                self.model.verifier = registered;
                Ok(())
            }
            Action::Advance { rounds, offset, initialize } => {
                self.advance(rounds, offset)?;
                if initialize { self.initialize() } else { Ok(()) }
            }
            Action::Initialize => self.initialize(),
        }
    }

    fn bond(&mut self, who: Who, to: Who, wei: u128) -> Result<()> {
        let mut seen = self.seen(who)?;
        let amount = wei.min(self.model.accounts[who].tokens);
        let call = BondingManager::bondCall { amount: U256::from(amount), to: self.accounts[to] };
        let done = self.stake(who, call, &mut seen)?;
        let expected = self.model.bond(who, to, amount, seen);
        self.agree("bond", done, expected)
    }

    /// The reward itself is checked here, and then taken over as it is.
    fn reward(&mut self, who: Who) -> Result<()> {
        let mut seen = self.seen(who)?;
        let before = self.total_stake_of(who)?;
        let done = self.stake(who, BondingManager::rewardCall {}, &mut seen)?;
        let minted = self.total_stake_of(who)? - before;
        let exact = done.is_ok().then(|| (self.model.exact_reward(who), self.model.reward_slack()));
        if let Some((exact, slack)) = exact {
            let got = crate::exact::whole(minted);
            ensure!(got <= exact && &exact - &got < slack, "reward of {who}: contracts {minted}, exact {exact}");
        }
        let expected = self.model.reward(who, minted);
        self.agree("reward", done, expected)
    }

    fn redeem(&mut self, to: Who, wei: u128, age: u64) -> Result<()> {
        let rounds = self.contracts.rounds_manager;
        let hash_of = |chain: &mut LocalChain<EmptyDB>, round: u64| {
            chain.view(rounds, RoundsManager::blockHashForRoundCall { round: U256::from(round) })
        };
        // A round that was never initialised has no hash, and no tickets.
        let earlier = self.model.round.saturating_sub(age);
        let created = if hash_of(&mut self.chain, earlier)?.is_zero() { self.model.round } else { earlier };
        let block_hash = hash_of(&mut self.chain, created)?;
        self.tickets += 1;
        let recipient_rand = U256::from(self.tickets);
        let ticket = Ticket {
            recipient: self.accounts[to],
            sender: self.sender.address(),
            faceValue: U256::from(wei),
            winProb: U256::MAX,
            senderNonce: U256::from(self.tickets),
            recipientRandHash: keccak256(B256::from(recipient_rand)),
            auxData: (U256::from(created), block_hash).abi_encode().into(),
        };
        let packed = [
            ticket.recipient.as_slice(),
            ticket.sender.as_slice(),
            &ticket.faceValue.to_be_bytes::<32>(),
            &ticket.winProb.to_be_bytes::<32>(),
            &ticket.senderNonce.to_be_bytes::<32>(),
            ticket.recipientRandHash.as_slice(),
            &ticket.auxData,
        ]
        .concat();
        let sig = self.sender.sign_message_sync(keccak256(packed).as_slice())?.as_bytes();
        let call = TicketBroker::redeemWinningTicketCall { ticket, sig: sig.into(), recipientRand: recipient_rand };
        let caller = self.sender.address();
        let done = self.chain.try_send(caller, self.contracts.ticket_broker, call, U256::ZERO)?;
        let expected = self.model.ticket(to, wei, created);
        self.agree("redeemWinningTicket", done.map(|_| ()), expected)
    }

    fn slash(&mut self, who: Who, finder: Who, ppm: u32, finder_ppm: u32) -> Result<()> {
        let call = BondingManager::slashTranscoderCall {
            transcoder_: self.accounts[who],
            finder: self.accounts[finder],
            slashAmount: U256::from(ppm),
            finderFee: U256::from(finder_ppm),
        };
        let done = self.chain.try_send(self.verifier, self.contracts.bonding_manager, call, U256::ZERO)?;
        // It claims for the orchestrator, after the loss.
        let seen = self.seen(who)?;
        let expected = self.model.slash(who, finder, ppm.into(), finder_ppm.into(), seen);
        self.agree("slashTranscoder", done.map(|_| ()), expected)
    }

    fn advance(&mut self, rounds: u64, offset: u64) -> Result<()> {
        let contract = self.contracts.rounds_manager;
        let start: u64 = self.chain.view(contract, RoundsManager::currentRoundStartBlockCall {})?.to();
        // Time does not go back.
        self.chain.set_block((start + rounds * ROUND_LENGTH + offset).max(self.chain.block()));
        self.model.advance(rounds);
        self.model.locked_for_commissions = self.chain.view(contract, RoundsManager::currentRoundLockedCall {})?;
        let round: u64 = self.chain.view(contract, RoundsManager::currentRoundCall {})?.to();
        ensure!(round == self.model.round, "round {round}, not {}", self.model.round);
        Ok(())
    }

    fn initialize(&mut self) -> Result<()> {
        let call = RoundsManager::initializeRoundCall {};
        let done = self.chain.try_send(self.owner, self.contracts.rounds_manager, call, U256::ZERO)?;
        let expected = self.model.initialize();
        self.agree("initializeRound", done.map(|_| ()), expected)
    }

    /// What the views say of an account.
    pub(crate) fn seen(&mut self, who: Who) -> Result<Seen> {
        let (staking, delegator) = (self.contracts.bonding_manager, self.accounts[who]);
        let stake = self.chain.view(staking, BondingManager::pendingStakeCall { delegator, _1: U256::ZERO })?;
        let fees = self.chain.view(staking, BondingManager::pendingFeesCall { delegator, _1: U256::ZERO })?;
        Ok(Seen { stake: to_u128(stake)?, fees: to_u128(fees)?, accepted: false })
    }

    pub(crate) fn total_stake_of(&mut self, who: Who) -> Result<u128> {
        let call = BondingManager::transcoderTotalStakeCall { transcoder_: self.accounts[who] };
        to_u128(self.chain.view(self.contracts.bonding_manager, call)?)
    }

    pub(crate) fn lock_value(&mut self, who: Who, id: u64) -> Result<u128> {
        let call = BondingManager::getDelegatorUnbondingLockCall {
            delegator: self.accounts[who],
            unbondingLockId: U256::from(id),
        };
        to_u128(self.chain.view(self.contracts.bonding_manager, call)?.amount)
    }

    /// One of all locks with its owner and worth, or one that does not exist.
    fn pick_lock(&mut self, pick: usize) -> Result<(Who, u64, u128)> {
        let accounts = self.model.accounts.iter().enumerate();
        let locks: Vec<_> =
            accounts.flat_map(|(who, account)| account.locks.keys().map(move |id| (who, *id))).collect();
        let (who, id) = match locks.len() {
            0 => (0, self.model.accounts[0].next_lock),
            count => locks[pick % count],
        };
        Ok((who, id, self.lock_value(who, id)?))
    }

    fn stake(&mut self, who: Who, call: impl SolCall, seen: &mut Seen) -> Result<Result<(), Refusal>> {
        let done = self.chain.try_send(self.accounts[who], self.contracts.bonding_manager, call, U256::ZERO)?;
        seen.accepted = done.is_ok();
        Ok(done.map(|_| ()))
    }

    fn agree(&mut self, call: &'static str, done: Result<(), Refusal>, expected: Result<(), Refused>) -> Result<()> {
        self.tally.entry(call).or_default()[usize::from(done.is_err())] += 1;
        match (done, expected) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(refusal), Err(expected)) if refusal.selector() == expected => Ok(()),
            (done, expected) => bail!(
                "{call}: contracts {}, model {}",
                done.map_or_else(|refusal| refusal.to_string(), |()| "agree".into()),
                expected.map_or_else(|expected| format!("refuses with {}", FixedBytes(expected)), |()| "agrees".into()),
            ),
        }
    }
}

fn model(chain: &mut LocalChain<EmptyDB>, contracts: &AddressBook) -> Result<Model> {
    let staking = contracts.bonding_manager;
    let validity: u64 = chain.view(contracts.ticket_broker, TicketBroker::ticketValidityPeriodCall {})?.to();
    let terms = Terms {
        unbonding_period: chain.view(staking, BondingManager::unbondingPeriodCall {})?,
        notice: chain.view(staking, BondingManager::noticePeriodCall {})?.max(validity),
        challenge_window: chain.view(staking, BondingManager::challengeWindowCall {})?,
        slash_cooldown: chain.view(staking, BondingManager::slashCooldownCall {})?,
        minimum_stake: to_u128(chain.view(staking, BondingManager::minimumStakeCall {})?)?,
        seats: chain.view(staking, BondingManager::getTranscoderPoolMaxSizeCall {})?.to(),
        inflation_change: to_u128(chain.view(contracts.minter, Minter::inflationChangeCall {})?)?,
        target_bonding_rate: to_u128(chain.view(contracts.minter, Minter::targetBondingRateCall {})?)?,
    };
    let tokens = |who| if who == ANCHOR { ANCHOR_TOKENS } else { TOKENS };
    Ok(Model {
        terms,
        accounts: (0..ACCOUNTS).map(|who| Account::with_tokens(tokens(who))).collect(),
        orchestrators: (0..ACCOUNTS).map(|_| Orchestrator::new()).collect(),
        round: chain.view(contracts.rounds_manager, RoundsManager::currentRoundCall {})?.to(),
        initialized: chain.view(contracts.rounds_manager, RoundsManager::currentRoundInitializedCall {})?,
        locked_for_commissions: chain.view(contracts.rounds_manager, RoundsManager::currentRoundLockedCall {})?,
        verifier: !chain
            .view(contracts.controller, Controller::getContractCall { id: keccak256("Verifier") })?
            .is_zero(),
        total_stake: 0,
        next_total_stake: 0,
        pool_size: 0,
        supply: to_u128(chain.view(contracts.livepeer_token, LivepeerToken::totalSupplyCall {})?)?,
        inflation: to_u128(chain.view(contracts.minter, Minter::inflationCall {})?)?,
        mintable: 0,
        minted: 0,
        fees_held: 0,
    })
}

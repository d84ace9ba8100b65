//! A deployment on which rounds, rewards, tickets and stake are played by hand.
use alloy::{
    eips::BlockId,
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, U256, keccak256},
    providers::Provider,
    rpc::types::TransactionRequest,
    signers::{SignerSync, local::PrivateKeySigner},
    sol_types::SolCall,
};
use anyhow::{Result, ensure};
use streamflow_bindings::{BondingManager, LivepeerToken, RoundsManager, TicketBroker};
use streamflow_chain::{Chain, OrderedGroup, delegator::Progress, redeem_call, redeem_ordered_call};
use streamflow_testkit::{DeployOptions, Deployment, key};
use streamflow_types::{Round, Signature65, SignedTicket, Ticket, WinProb, WinningTicket};

use crate::fixture::chain;

pub(super) const LPT: u128 = 1_000_000_000_000_000_000;
/// The highest 64 bits of every secret of an ordered ticket.
const MARKER: u64 = 0xdaad_dfba_8d87_e975;

/// Two senders: one with funds for everything, one that runs short.
pub(super) const RICH: usize = 1;
pub(super) const POOR: usize = 7;

pub(super) struct Market {
    pub(super) deployment: Deployment,
    pub(super) chain: Chain,
    nonce: u32,
}

impl Market {
    /// Account 2 and on are orchestrators with these stakes in LPT, active. The supply is small, so that rewards are.
    pub(super) async fn open(stakes: &[u128], env: &[(&'static str, &str)]) -> Result<Self> {
        let mut env: Vec<_> = env.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        env.push(("STREAMFLOW_INITIAL_SUPPLY", (1_000 * LPT).to_string()));
        env.push(("STREAMFLOW_NOTICE_PERIOD", "3".to_owned()));
        let options = DeployOptions { env, ..DeployOptions::default() };
        let deployment = Deployment::start_with(options).await?;
        // Commissions cannot be set in the last blocks of a round, and where deploying ends nobody knows.
        deployment.next_round().await?;
        for (index, stake) in stakes.iter().enumerate() {
            deployment.register(&key(2 + index)?, U256::from(*stake * LPT), "https://o.example:8935").await?;
        }
        deployment.fund_sender(&key(RICH)?, gwei(1_000_000_000), U256::ZERO).await?;
        deployment.next_round().await?;
        let (chain, _) = chain(&deployment).await?;
        Ok(Self { deployment, chain, nonce: 0 })
    }

    pub(super) fn broker(&self) -> Address {
        self.deployment.contracts.ticket_broker
    }

    pub(super) fn staking(&self) -> Address {
        self.deployment.contracts.bonding_manager
    }

    pub(super) async fn stake(&self, account: usize, call: impl SolCall) -> Result<()> {
        self.deployment.call(&key(account)?, self.staking(), call, U256::ZERO).await?;
        Ok(())
    }

    pub(super) async fn reward(&self, account: usize) -> Result<()> {
        self.stake(account, BondingManager::rewardCall {}).await
    }

    /// Gives LPT to `account` and delegates them.
    pub(super) async fn bond(&self, account: usize, to: usize, lpt: u128) -> Result<()> {
        let (signer, amount) = (key(account)?, U256::from(lpt * LPT));
        self.deployment.give_lpt(signer.address(), amount).await?;
        let approve = LivepeerToken::approveCall { spender: self.staking(), value: amount };
        self.deployment.call(&signer, self.deployment.contracts.livepeer_token, approve, U256::ZERO).await?;
        self.stake(account, BondingManager::bondCall { amount, to: address(to) }).await
    }

    /// Redeems a winner of the rich sender.
    pub(super) async fn pay(&mut self, to: usize, wei: U256) -> Result<()> {
        let winner = self.winner(&key(RICH)?, address(to), wei, None).await?;
        self.deployment.call(&key(5)?, self.broker(), redeem_call(&winner), U256::ZERO).await?;
        Ok(())
    }

    /// Redeems marked winners in one ordered batch, all of one face value.
    pub(super) async fn pay_ordered(&mut self, from: usize, to: usize, wei: U256, tickets: u64) -> Result<()> {
        let call = self.ordered(from, to, wei, tickets).await?;
        self.deployment.call(&key(to)?, self.broker(), call, U256::ZERO).await?;
        Ok(())
    }

    /// As [`Market::pay_ordered`], but the broker is called by a contract that is the recipient's redeemer.
    pub(super) async fn pay_ordered_by_contract(
        &mut self,
        from: usize,
        to: usize,
        wei: U256,
        tickets: u64,
    ) -> Result<()> {
        let contract = Address::repeat_byte(0x77);
        let code = alloy::hex::encode_prefixed(forwarder(self.broker()));
        self.deployment.anvil.provider().raw_request::<_, ()>("anvil_setCode".into(), (contract, code)).await?;
        let named = TicketBroker::setRedeemerCall { redeemer: contract };
        self.deployment.call(&key(to)?, self.broker(), named, U256::ZERO).await?;
        let call = self.ordered(from, to, wei, tickets).await?;
        self.deployment.call(&key(5)?, contract, call, U256::ZERO).await?;
        Ok(())
    }

    async fn ordered(
        &mut self,
        from: usize,
        to: usize,
        wei: U256,
        tickets: u64,
    ) -> Result<TicketBroker::redeemOrderedTicketsCall> {
        let (sender, recipient) = (key(from)?, address(to));
        let mut winners = Vec::new();
        for serial in 1..=tickets {
            winners.push(self.winner(&sender, recipient, wei, Some(serial)).await?);
        }
        let group = OrderedGroup { sender: sender.address(), mark: U256::ZERO, tickets: winners.iter().collect() };
        Ok(redeem_ordered_call(recipient, &[group])?)
    }

    /// A ticket that wins; in order if it has a serial.
    async fn winner(
        &mut self,
        sender: &PrivateKeySigner,
        recipient: Address,
        face_value: U256,
        serial: Option<u64>,
    ) -> Result<WinningTicket> {
        let rounds = self.deployment.contracts.rounds_manager;
        let round = self.round().await?;
        let call = RoundsManager::blockHashForRoundCall { round: U256::from(round) };
        let creation_round_block_hash = self.deployment.view(rounds, call).await?;
        let recipient_rand = match serial {
            Some(serial) => (U256::from(MARKER) << 192) | (U256::from(serial) << 128) | U256::from(42),
            None => U256::from(42),
        };
        self.nonce += 1;
        let ticket = Ticket {
            recipient,
            sender: sender.address(),
            face_value,
            win_prob: WinProb::MAX,
            sender_nonce: self.nonce,
            recipient_rand_hash: keccak256(B256::from(recipient_rand)),
            creation_round: Round(round),
            creation_round_block_hash,
            deployment: None,
        };
        let hash = self.deployment.view(
            self.broker(),
            TicketBroker::getTicketHashCall { ticket: redeem_call(&unsigned(&ticket, recipient_rand)).ticket },
        );
        let sig = sender.sign_message_sync(hash.await?.as_slice())?.as_bytes();
        Ok(WinningTicket {
            signed: SignedTicket { ticket, sig: Signature65::new(sig) },
            recipient_rand,
            params_expiration_block: 0,
        })
    }

    pub(super) async fn round(&self) -> Result<u64> {
        let call = RoundsManager::currentRoundCall {};
        Ok(self.deployment.view(self.deployment.contracts.rounds_manager, call).await?.to())
    }

    pub(super) async fn pending(&self, account: usize) -> Result<(U256, U256)> {
        let delegator = address(account);
        let stake = BondingManager::pendingStakeCall { delegator, _1: U256::ZERO };
        let fees = BondingManager::pendingFeesCall { delegator, _1: U256::ZERO };
        Ok((self.deployment.view(self.staking(), stake).await?, self.deployment.view(self.staking(), fees).await?))
    }

    /// Whether the call would succeed now.
    pub(super) async fn would_pass(&self, account: usize, call: impl SolCall) -> bool {
        let request = TransactionRequest::default()
            .with_from(address(account))
            .with_to(self.staking())
            .with_input(Bytes::from(call.abi_encode()));
        self.deployment.anvil.provider().call(request).block(BlockId::latest()).await.is_ok()
    }

    /// Makes BondingManager answer nothing to `selectors`, as a deployment without these functions does.
    pub(super) async fn without(&self, selectors: &[[u8; 4]]) -> Result<()> {
        // keccak256("eip1967.proxy.implementation") - 1
        let slot = U256::from_be_bytes(keccak256("eip1967.proxy.implementation").0) - U256::ONE;
        let provider = self.deployment.anvil.provider();
        let word = provider.get_storage_at(self.staking(), slot).await?;
        let implementation = Address::from_word(B256::from(word));
        ensure!(!implementation.is_zero(), "no proxy at {}", self.staking());
        let code = alloy::hex::encode_prefixed(filter(selectors, implementation)?);
        provider.raw_request::<_, ()>("anvil_setCode".into(), (self.staking(), code)).await?;
        Ok(())
    }
}

/// Code that reverts for these selectors, and else calls on with the storage of whoever has it.
fn filter(selectors: &[[u8; 4]], implementation: Address) -> Result<Vec<u8>> {
    let target = u8::try_from(5 + selectors.len() * 10 + 45)?;
    // shr(224, calldataload(0)); then for each: if eq(selector) goto target
    let mut code = vec![0x5f, 0x35, 0x60, 0xe0, 0x1c];
    for selector in selectors {
        code.extend([0x80, 0x63]);
        code.extend(selector);
        code.extend([0x14, 0x60, target, 0x57]);
    }
    // calldatacopy(0, 0, calldatasize); delegatecall(gas, implementation, 0, calldatasize, 0, 0)
    code.extend([0x36, 0x5f, 0x5f, 0x37, 0x5f, 0x5f, 0x36, 0x5f, 0x73]);
    code.extend(implementation.as_slice());
    code.extend([0x5a, 0xf4]);
    // returndatacopy(0, 0, returndatasize); if success goto the return, else revert with it
    let success = u8::try_from(code.len() + 10)?;
    code.extend([0x3d, 0x5f, 0x5f, 0x3e, 0x60, success, 0x57, 0x3d, 0x5f, 0xfd]);
    code.extend([0x5b, 0x3d, 0x5f, 0xf3]);
    ensure!(code.len() == usize::from(target), "the target is at {}", code.len());
    code.extend([0x5b, 0x5f, 0x5f, 0xfd]);
    Ok(code)
}

/// Code that calls `to` with whatever it is called with.
fn forwarder(to: Address) -> Vec<u8> {
    // calldatacopy(0, 0, calldatasize); call(gas, to, 0, 0, calldatasize, 0, 0); stop, or revert if it failed
    let mut code = vec![0x36, 0x5f, 0x5f, 0x37, 0x5f, 0x5f, 0x36, 0x5f, 0x5f, 0x73];
    code.extend(to.as_slice());
    code.extend([0x5a, 0xf1, 0x60, 0x26, 0x57, 0x5f, 0x5f, 0xfd, 0x5b, 0x00]);
    code
}

fn unsigned(ticket: &Ticket, recipient_rand: U256) -> WinningTicket {
    let signed = SignedTicket { ticket: *ticket, sig: Signature65::new([0; 65]) };
    WinningTicket { signed, recipient_rand, params_expiration_block: 0 }
}

pub(super) fn address(account: usize) -> Address {
    key(account).map(|key| key.address()).unwrap_or_default()
}

pub(super) fn gwei(amount: u64) -> U256 {
    U256::from(amount) * U256::from(1_000_000_000_u64)
}

pub(super) fn quiet(_: Progress) {}

//! The few cheat codes of forge that the deploy script uses.
use alloy::{
    primitives::{Address, B256, Bytes, U256, address},
    signers::local::PrivateKeySigner,
    sol,
    sol_types::{SolCall, SolInterface},
};
use revm::{
    Inspector,
    context_interface::{ContextTr, JournalTr},
    interpreter::{
        CallInputs, CallOutcome, CreateInputs, CreateOutcome, Gas, InstructionResult, InterpreterResult,
        interpreter::EthInterpreter,
    },
};

/// Where forge listens: the last 20 bytes of keccak256("hevm cheat code").
pub(crate) const CHEATS: Address = address!("7109709ECfa91a80626fF3989D68f67F5b1DD12D");

sol! {
    interface Cheats {
        function addr(uint256 privateKey) external pure returns (address);
        function computeCreateAddress(address deployer, uint256 nonce) external pure returns (address);
        function getNonce(address account) external view returns (uint64);
        function startBroadcast(uint256 privateKey) external;
        function stopBroadcast() external;
    }
}

/// Answers the script's cheat codes. Between start and stop of a broadcast, what the script calls and creates comes from
/// the account that it broadcasts from.
#[derive(Debug)]
pub(crate) struct Forge {
    /// The contract that may use them.
    pub(crate) script: Address,
    pub(crate) broadcaster: Option<Address>,
}

impl Forge {
    fn answer<C: ContextTr>(&mut self, context: &mut C, input: &[u8]) -> Option<Bytes> {
        use Cheats::CheatsCalls as Call;
        let encoded = match Call::abi_decode(input).ok()? {
            Call::addr(call) => Cheats::addrCall::abi_encode_returns(&account(call.privateKey)?),
            Call::computeCreateAddress(call) => {
                Cheats::computeCreateAddressCall::abi_encode_returns(&call.deployer.create(call.nonce.to()))
            }
            Call::getNonce(call) => {
                let nonce = context.journal_mut().load_account(call.account).ok()?.data.info.nonce;
                Cheats::getNonceCall::abi_encode_returns(&nonce)
            }
            Call::startBroadcast(call) => {
                self.broadcaster = Some(account(call.privateKey)?);
                Vec::new()
            }
            Call::stopBroadcast(_) => {
                self.broadcaster = None;
                Vec::new()
            }
        };
        Some(encoded.into())
    }
}

fn account(key: U256) -> Option<Address> {
    Some(PrivateKeySigner::from_bytes(&B256::from(key)).ok()?.address())
}

impl<C: ContextTr> Inspector<C, EthInterpreter> for Forge {
    fn call(&mut self, context: &mut C, inputs: &mut CallInputs) -> Option<CallOutcome> {
        if inputs.target_address == CHEATS {
            let input = inputs.input.bytes(context);
            let answer = self.answer(context, &input);
            let result = match answer {
                Some(_) => InstructionResult::Return,
                None => InstructionResult::Revert,
            };
            let gas = Gas::new(inputs.gas_limit);
            let result = InterpreterResult { result, output: answer.unwrap_or_default(), gas };
            return Some(CallOutcome::new(result, inputs.return_memory_offset.clone()));
        }
        if let Some(broadcaster) = self.broadcaster.filter(|_| inputs.caller == self.script) {
            inputs.caller = broadcaster;
        }
        None
    }

    fn create(&mut self, _context: &mut C, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        if let Some(broadcaster) = self.broadcaster.filter(|_| inputs.caller() == self.script) {
            inputs.set_call(broadcaster);
        }
        None
    }
}

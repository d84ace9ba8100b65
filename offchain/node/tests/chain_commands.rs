//! Commands against a real deployment on anvil.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use alloy::{
    hex,
    primitives::{Address, U256},
    providers::Provider as _,
    signers::local::PrivateKeySigner,
};
use serde_json::Value;
use streamflow_bindings::{BondingManager, RoundsManager, TicketBroker};
use streamflow_testkit::{Deployment, key};

/// 10^18
const UNIT: u128 = 1_000_000_000_000_000_000;

struct Operator<'a> {
    net: &'a Deployment,
    key: PrivateKeySigner,
    home: tempfile::TempDir,
}

impl<'a> Operator<'a> {
    fn new(net: &'a Deployment, account: usize) -> Self {
        Self { net, key: key(account).unwrap(), home: tempfile::tempdir().unwrap() }
    }

    fn run(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamflow"));
        command
            .args(args.split(' '))
            .env("HOME", self.home.path())
            .env("TEST_KEY", hex::encode(self.key.to_bytes()))
            .env("STREAMFLOW_KEYS__PRIVATE_KEY_ENV", "TEST_KEY")
            .env("STREAMFLOW_CHAIN__RPC_URL", self.net.anvil.url().as_str())
            .env("STREAMFLOW_CHAIN__CONTROLLER", self.net.contracts.controller.to_string())
            .env("STREAMFLOW_CHAIN__POLL_INTERVAL", "100ms");
        command
    }

    /// Runs with `--json`; the command must succeed.
    fn json(&self, args: &str) -> Value {
        let output = self.run(&format!("{args} --json"));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args}: {text}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs; the command must be refused with exit code 3. Returns the reason.
    fn refused(&self, args: &str) -> String {
        let output = self.run(args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{args}: {text}");
        text
    }

    async fn deposit(&self) -> U256 {
        let call = TicketBroker::getSenderInfoCall { addr: self.key.address() };
        self.net.view(self.net.contracts.ticket_broker, call).await.unwrap().sender.deposit
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_funds_unlocks_and_withdraws() {
    let net = Deployment::start().await.unwrap();
    net.initialize_round().await.unwrap();
    let sender = Operator::new(&net, 1);

    let foreseen = sender.json("fund --deposit 1.5eth --reserve 10gwei --dry-run");
    assert_eq!(foreseen["dry_run"], true);
    assert!(foreseen["steps"][0]["gas"].as_u64().unwrap() > 20_000, "{foreseen:#}");
    assert_eq!(foreseen["changes"][0]["after"], "1.5 ETH");
    assert_eq!(sender.deposit().await, U256::ZERO, "a dry run sent something");

    let done = sender.json("fund --deposit 1.5eth --reserve 10gwei");
    assert!(done["steps"][0]["transaction"].is_string(), "{done:#}");
    assert_eq!(sender.deposit().await, U256::from(UNIT + UNIT / 2));

    let status = sender.json("chain status");
    assert_eq!(status["account"]["deposit"], (UNIT + UNIT / 2).to_string());
    assert_eq!(status["account"]["reserve"], "10000000000");
    assert_eq!(status["round"]["initialized"], true);
    assert_eq!(status["contracts"]["TicketBroker"], net.contracts.ticket_broker.to_string().to_lowercase());

    assert!(sender.refused("withdraw").contains("`streamflow unlock`"));
    sender.json("unlock");
    assert!(sender.refused("unlock").contains("unlocking already"));
    assert!(sender.refused("withdraw").contains("can be withdrawn from round"));
    net.next_round().await.unwrap();
    net.next_round().await.unwrap();
    sender.json("chain withdraw");
    assert_eq!(sender.deposit().await, U256::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_commits_reserve_and_takes_it_back() {
    let net = Deployment::start().await.unwrap();
    net.initialize_round().await.unwrap();
    let (sender, first, second) = (Operator::new(&net, 1), key(3).unwrap().address(), key(4).unwrap().address());
    let committed = async |orchestrator| {
        let call = TicketBroker::getCommittedReserveCall { sender: sender.key.address(), recipient: orchestrator };
        net.view(net.contracts.ticket_broker, call).await.unwrap().funds
    };
    sender.json(&format!("fund --deposit 1eth --reserve 3wei --commit-to {first} --commit-to {second}"));
    assert_eq!(committed(first).await + committed(second).await, U256::from(3));
    assert_eq!(committed(first).await.abs_diff(committed(second).await), U256::ONE);
    let status = sender.json("chain status");
    assert_eq!((&status["account"]["reserve"], &status["account"]["committed"]), (&"0".into(), &"3".into()));
    sender.json("fund --reserve 5wei --shared");
    assert_eq!(sender.json("chain status")["account"]["reserve"], "5");

    assert!(sender.refused(&format!("withdraw --committed-to {first}")).contains("`streamflow chain release`"));
    assert!(sender.refused(&format!("chain release --orchestrator {first} --amount 1eth")).contains("1 ETH should be"));
    let foreseen = sender.json(&format!("chain release --orchestrator {first} --dry-run"));
    assert_eq!(foreseen["dry_run"], true);
    sender.json(&format!("chain release --orchestrator {first}"));
    assert!(sender.refused(&format!("withdraw --committed-to {first}")).contains("can be withdrawn from round"));
    net.next_round().await.unwrap();
    net.next_round().await.unwrap();
    sender.json(&format!("chain withdraw --committed-to {first}"));
    assert_eq!(committed(first).await, U256::ZERO);
    assert!(!committed(second).await.is_zero());

    sender.json("unlock");
    sender.json(&format!("fund --reserve 1wei --commit-to {first}"));
    assert!(
        sender.refused("withdraw").contains("`streamflow unlock`"),
        "a sender that commits does not go on unlocking"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_names_its_redeemer_and_withdraws_the_right() {
    let net = Deployment::start().await.unwrap();
    let (orchestrator, keeper) = (Operator::new(&net, 1), key(3).unwrap().address());
    let named = async || {
        let call = TicketBroker::redeemerOfCall { recipient: orchestrator.key.address() };
        net.view(net.contracts.ticket_broker, call).await.unwrap()
    };
    let foreseen = orchestrator.json(&format!("chain set-redeemer --redeemer {keeper} --dry-run"));
    assert_eq!((&foreseen["dry_run"], &foreseen["changes"][0]["after"]), (&true.into(), &keeper.to_string().into()));
    assert_eq!(named().await, Address::ZERO, "a dry run sent something");

    orchestrator.json(&format!("chain set-redeemer --redeemer {keeper}"));
    assert_eq!(named().await, keeper);
    let again = orchestrator.json(&format!("chain set-redeemer --redeemer {keeper}"));
    assert_eq!(again["steps"].as_array().unwrap().len(), 0, "{again:#}");
    orchestrator.json(&format!("chain set-redeemer --redeemer {}", Address::ZERO));
    assert_eq!(named().await, Address::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_paid_is_refused_before_anything_is_sent() {
    let net = Deployment::start().await.unwrap();
    net.initialize_round().await.unwrap();
    let sender = Operator::new(&net, 2);
    assert!(sender.refused("fund --deposit 1000000eth").contains("needs up to 1000000 ETH and gas"));
    assert!(sender.refused("unlock").contains("neither deposit nor reserve"));
    let text =
        sender.refused("register --service-uri https://o.example:8935 --stake 5lpt --reward-cut 10% --fee-share 95%");
    assert!(text.contains("0 LPT"), "{text}");
    assert!(sender.refused("stake withdraw-fees").contains("no fees"));
    assert_eq!(net.anvil.provider().get_transaction_count(sender.key.address()).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_registers_and_takes_its_stake_back() {
    let net = Deployment::start().await.unwrap();
    net.initialize_round().await.unwrap();
    let orchestrator = Operator::new(&net, 3);
    net.give_lpt(orchestrator.key.address(), U256::from(100 * UNIT)).await.unwrap();

    let register = "register --service-uri https://o.example:8935 --stake 60lpt --reward-cut 10% --fee-share 95%";
    let foreseen = orchestrator.json(&format!("{register} --dry-run"));
    assert_eq!(foreseen["steps"].as_array().unwrap().len(), 4, "approve, bond, shares, URI: {foreseen:#}");
    orchestrator.json(register);
    let account = orchestrator.json("chain status")["account"].clone();
    assert_eq!(account["registered"], true);
    assert_eq!((&account["reward_cut"], &account["fee_share"]), (&100_000.into(), &950_000.into()));
    assert_eq!(account["service_uri"], "https://o.example:8935");
    assert_eq!(account["stake"], (60 * UNIT).to_string());
    assert_eq!(account["active"], false, "active from the next round");

    let again = orchestrator.json(&format!("{register} --dry-run").replace("60lpt", "0lpt"));
    assert_eq!(again["steps"].as_array().unwrap().len(), 0, "nothing to change: {again:#}");

    net.next_round().await.unwrap();
    assert_eq!(orchestrator.json("chain status")["account"]["active"], true);
    orchestrator.json("stake bond --amount 10lpt");
    orchestrator.json("stake unbond --amount 20lpt");
    assert!(orchestrator.refused("stake withdraw --lock 0").contains("locked until round"));
    assert!(orchestrator.refused("stake withdraw --lock 9").contains("no unbonding lock"));
    orchestrator.json("stake rebond --lock 0");
    let staked = BondingManager::pendingStakeCall { delegator: orchestrator.key.address(), _1: U256::ZERO };
    assert_eq!(net.view(net.contracts.bonding_manager, staked).await.unwrap(), U256::from(70 * UNIT));

    let ratios = orchestrator.json("delegator fee-ratio --rounds 2");
    let rows = ratios["rows"].as_array().unwrap();
    assert!(!rows.is_empty(), "{ratios:#}");
    assert!(rows.iter().all(|row| row["fees"] == "0" && row["ratio"] == "0"), "{ratios:#}");
    let round: u64 = net.view(net.contracts.rounds_manager, RoundsManager::currentRoundCall {}).await.unwrap().to();
    assert_eq!(rows.iter().map(|row| row["round"].as_u64().unwrap()).max(), Some(round));
}

#[tokio::test(flavor = "multi_thread")]
async fn gas_above_the_ceiling_is_refused() {
    let net = Deployment::start().await.unwrap();
    let sender = Operator::new(&net, 1);
    let output =
        sender.command("fund --deposit 1eth").env("STREAMFLOW_CHAIN__TX__MAX_FEE_PER_GAS", "1").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("max_fee_per_gas"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_of_our_own_is_usable() {
    let net = Deployment::start().await.unwrap();
    let owner = Operator::new(&net, 5);
    let project = streamflow_testkit::workspace_root().unwrap();
    let file = owner.home.path().join("addresses.json");
    let deploy = format!("chain deploy --project-dir {} --out {}", project.display(), file.display());

    let foreseen = owner.json(&format!("{deploy} --dry-run"));
    assert_eq!(foreseen["dry_run"], true);
    assert!(!file.exists());
    assert_eq!(net.anvil.provider().get_transaction_count(owner.key.address()).await.unwrap(), 0);

    let deployed = owner.json(&deploy);
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(deployed["contracts"], written);
    let controller = written["Controller"].as_str().unwrap();
    assert_ne!(controller, net.contracts.controller.to_string().to_lowercase());
    let mut command = owner.command("chain status --json");
    let output = command.env("STREAMFLOW_CHAIN__CONTROLLER", controller).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["paused"], false, "{status:#}");
    assert_ne!(status["account"]["lpt"], "0", "the deployer holds the first supply");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_tells_what_is_missing_and_fails_only_for_what_cannot_work() {
    let net = Deployment::start().await.unwrap();
    net.initialize_round().await.unwrap();
    let patient = Operator::new(&net, 6);
    let diagnosis = patient.json("doctor");
    let check = |name: &str| {
        let checks = diagnosis["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {diagnosis:#}"))
            .clone()
    };
    for name in [
        "key",
        "data directory",
        "database",
        "RPC",
        "contracts",
        "round",
        "simulation",
        "gas money",
        "media workers",
        "libx264",
    ] {
        assert_eq!(check(name)["state"], "ok", "{diagnosis:#}");
    }
    assert_eq!(check("deposit")["state"], "warn");
    assert!(check("stake")["found"].as_str().unwrap().contains("streamflow register"));
    let orchestrator = Operator::new(&net, 1);
    net.register(&orchestrator.key, U256::from(1_000 * UNIT), "https://127.0.0.1:8935").await.unwrap();
    let found = orchestrator.json("doctor")["checks"].to_string();
    assert!(found.contains("`streamflow chain set-redeemer`"), "{found}");

    let output = patient.command("doctor --json").env("STREAMFLOW_CHAIN__CHAIN_ID", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let diagnosis: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rpc = diagnosis["checks"].as_array().unwrap().iter().find(|check| check["name"] == "RPC").unwrap().clone();
    assert_eq!(rpc["state"], "fail", "{diagnosis:#}");
}

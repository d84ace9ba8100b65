//! The protocol of 2018 from end to end: the deployed contract, an orchestrator as a process, and a broadcaster that is
//! written here from the protocol alone.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use alloy::{
    hex,
    primitives::{Address, B256, U256, keccak256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use serde_json::Value;
use streamflow_bindings::{Controller, JobsManager};
use streamflow_media::{SourceSettings, play};
use streamflow_testkit::{DeployOptions, Deployment, key};
use streamflow_types::Profile;
use streamflow_wire::jobs::proto::{
    SegData, TranscoderInfo, TranscoderRequest, orchestrator_client::OrchestratorClient,
};
use tokio::time::{Instant, sleep};
use tonic::{
    Code, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

mod logged;

use logged::PATIENCE;

const LPT: u128 = 1_000_000_000_000_000_000;
const STREAM: &str = "a stream of 2018";

/// `streamflow orchestrator` with the switch on.
struct Orchestrator {
    child: Child,
    address: SocketAddr,
    home: tempfile::TempDir,
}

impl Orchestrator {
    fn start(net: &Deployment, broadcaster: Address) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_streamflow"))
            .arg("orchestrator")
            .env("HOME", home.path())
            .env("TEST_KEY", hex::encode(key(1).unwrap().to_bytes()))
            .env("STREAMFLOW_KEYS__PRIVATE_KEY_ENV", "TEST_KEY")
            .env("STREAMFLOW_ADMIN__LISTEN", "127.0.0.1:0")
            .env("STREAMFLOW_LOG__FORMAT", "json")
            .env("STREAMFLOW_DATA__DIR", home.path().join("data"))
            .env("STREAMFLOW_CHAIN__POLL_INTERVAL", "100ms")
            .env("STREAMFLOW_CHAIN__RPC_URL", net.anvil.url().as_str())
            .env("STREAMFLOW_CHAIN__CONTROLLER", net.contracts.controller.to_string())
            .env("STREAMFLOW_TRANSCODING__WORKERS", "1")
            .env("STREAMFLOW_ORCHESTRATOR__LISTEN", "127.0.0.1:0")
            .env("STREAMFLOW_ORCHESTRATOR__JOBS_2018__ENABLED", "true")
            .env("STREAMFLOW_ORCHESTRATOR__JOBS_2018__BROADCASTERS", format!("[\"{broadcaster}\"]"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let address = logged::address(&mut child, "orchestrator listens");
        Self { child, address, home }
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    fn certificate(&self) -> PathBuf {
        find(self.home.path(), "127.0.0.1.cert.pem").unwrap()
    }

    async fn channel(&self) -> Channel {
        let certificate = std::fs::read(self.certificate()).unwrap();
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(certificate));
        Endpoint::from_shared(self.url("")).unwrap().tls_config(tls).unwrap().connect().await.unwrap()
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether `test/interop/jobs_2018.py` is content, and what it says.
fn python(arguments: &[&str]) -> (bool, String) {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/interop/jobs_2018.py");
    let output = Command::new("/usr/bin/python3").arg(program).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), said)
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| {
        let found = path.file_name().is_some_and(|file| file == name);
        if path.is_dir() { find(&path, name) } else { found.then_some(path) }
    })
}

/// A broadcaster of 2018.
struct Broadcaster {
    key: PrivateKeySigner,
    grpc: OrchestratorClient<Channel>,
    http: reqwest::Client,
}

impl Broadcaster {
    /// As personal messages are signed, over the hash of what is meant.
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign_message_sync(keccak256(message).as_slice()).unwrap().as_bytes().to_vec()
    }

    async fn ask(&self, job_id: u64, current_block: u64) -> Result<TranscoderInfo, Status> {
        let request = TranscoderRequest {
            job_id: job_id as i64,
            sig: self.sign(job_id.to_string().as_bytes()),
            current_block: current_block as i64,
        };
        Ok(self.grpc.clone().get_transcoder(request).await?.into_inner())
    }

    /// Asks again while the orchestrator's view of the chain is behind.
    async fn ask_until_seen(&self, job_id: u64, current_block: u64) -> TranscoderInfo {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.ask(job_id, current_block).await {
                Ok(info) => return info,
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "{status}");
                    assert!(status.message().contains("is at block"), "{status}");
                    assert!(Instant::now() < end, "{status}");
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn submit(&self, info: &TranscoderInfo, seq: u64, body: Vec<u8>) -> (u16, String) {
        let hash = keccak256(&body);
        let number = B256::from(U256::from(seq));
        let sig = self.sign(&[STREAM.as_bytes(), number.as_slice(), hash.as_slice()].concat());
        let segment = prost::Message::encode_to_vec(&SegData { seq: seq as i64, hash: hash.to_vec(), sig });
        let request = self
            .http
            .post(format!("{}/segment", info.transcoder))
            .header("Authorization", &info.auth_type)
            .header("Credentials", &info.credentials)
            .header("Livepeer-Segment", base64(&segment))
            .header("Content-Type", "video/MP2T");
        let answer = request.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

/// The fixture clip in segments of two seconds.
fn segments() -> Vec<Vec<u8>> {
    let clip = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/bbb-720p25-5s.mp4");
    let mut segments = Vec::new();
    play(&SourceSettings::new(clip, Duration::from_secs(4)), &mut |segment| {
        segments.push(segment.bytes.to_vec());
        ControlFlow::Continue(())
    })
    .unwrap();
    segments
}

struct Network {
    deployment: Deployment,
    jobs: Address,
}

impl Network {
    /// Two active orchestrators: accounts 1 and 3.
    async fn start() -> Self {
        let options = DeployOptions { round_length: 200, ..Default::default() };
        let deployment = Deployment::start_with(options).await.unwrap();
        deployment.initialize_round().await.unwrap();
        for account in [1, 3] {
            let uri = format!("https://o{account}.example");
            deployment.register(&key(account).unwrap(), U256::from(10 * LPT), &uri).await.unwrap();
        }
        deployment.next_round().await.unwrap();
        let call = Controller::getContractCall { id: keccak256("TranscodingJobs") };
        let jobs = deployment.view(deployment.contracts.controller, call).await.unwrap();
        Self { deployment, jobs }
    }

    async fn head(&self) -> u64 {
        self.deployment.anvil.block_number().await.unwrap()
    }

    /// Number of the new job, and the block it was created in.
    async fn create(&self, broadcaster: &PrivateKeySigner, orchestrator: Address) -> (u64, u64) {
        let call = JobsManager::createJobCall {
            streamId: STREAM.into(),
            transcodingOptions: "P144p30fps16x9,P240p30fps16x9".into(),
            maxPricePerUnit: U256::ONE,
            endBlock: U256::from(self.head().await + 100),
            orchestrator,
        };
        let receipt = self.deployment.call(broadcaster, self.jobs, call, U256::ZERO).await.unwrap();
        let created = receipt.decoded_log::<JobsManager::NewJob>().unwrap();
        (created.jobId.to(), receipt.block_number.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_2018_is_transcoded_for_its_job() {
    let net = Network::start().await;
    let account = key(2).unwrap();
    let orchestrator = Orchestrator::start(&net.deployment, account.address());
    let broadcaster = Broadcaster {
        key: account.clone(),
        grpc: OrchestratorClient::new(orchestrator.channel().await),
        http: reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap(),
    };

    let (job, created) = net.create(&account, key(1).unwrap().address()).await;
    let info = broadcaster.ask_until_seen(job, created).await;
    assert_eq!(info.transcoder, orchestrator.url(""));
    let wanted: BTreeMap<_, _> = info.stream_ids.iter().map(|(stream, preset)| (preset.as_str(), stream)).collect();
    assert_eq!(wanted.keys().collect::<Vec<_>>(), [&"P144p30fps16x9", &"P240p30fps16x9"]);
    let clip = segments();
    assert!(clip.len() >= 2, "{} segments", clip.len());
    for (seq, body) in clip.iter().enumerate() {
        let answer = broadcaster.submit(&info, seq as u64, body.clone()).await;
        assert_eq!(answer, (200, "OK".to_owned()));
        for (preset, stream) in &wanted {
            let url = format!("{}/stream/{stream}/{seq}.ts", info.transcoder);
            let rendition = broadcaster.http.get(url).send().await.unwrap().bytes().await.unwrap();
            let (inspection, preset) =
                (streamflow_media::inspect(&rendition).unwrap(), Profile::preset(preset).unwrap());
            assert_eq!((inspection.info.width, inspection.info.height), (preset.width, preset.height));
            assert!(inspection.pixels > 0);
        }
    }

    // The same from another program.
    assert!(python(&["check"]).0, "{}", python(&["check"]).1);
    let (target, certificate) = (orchestrator.address.to_string(), orchestrator.certificate());
    let sig = hex::encode(broadcaster.sign(job.to_string().as_bytes()));
    let ask = ["ask", &target, certificate.to_str().unwrap(), &job.to_string(), "0", &sig];
    let (_, answer) = python(&ask);
    let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
    let streams: BTreeMap<String, String> = serde_json::from_value(answer["stream_ids"].clone()).unwrap();
    assert_eq!((&streams, answer["job"].as_u64()), (&info.stream_ids, Some(job)), "{answer}");
    assert_eq!(answer["transcoder"].as_str(), Some(info.transcoder.as_str()), "{answer}");
    assert_eq!(answer["auth_type"], "Livepeer-Eth-1", "{answer}");
    let forged = ["ask", &target, certificate.to_str().unwrap(), &job.to_string(), "0", &"11".repeat(65)];
    let (_, refused) = python(&forged);
    assert!(refused.contains("UNAUTHENTICATED") && refused.contains(&account.address().to_string()), "{refused}");

    // Nobody's job, and another's.
    let refused = broadcaster.ask(job + 9, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    let ahead = net.head().await + 1000;
    let refused = broadcaster.ask(job + 9, ahead).await.unwrap_err();
    assert!(refused.message().contains(&format!("you are at block {ahead}")), "{refused}");
    let (others, created) = net.create(&account, key(3).unwrap().address()).await;
    let refused = broadcaster.ask(others, created).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let (ours, theirs) = (key(1).unwrap().address().to_string(), key(3).unwrap().address().to_string());
    assert!(refused.message().contains(&ours) && refused.message().contains(&theirs), "{refused}");

    // The broadcaster ends its job: soon nothing more is done for it.
    let call = JobsManager::endJobCall { jobId: U256::from(job) };
    let ended = net.deployment.call(&account, net.jobs, call, U256::ZERO).await.unwrap().block_number.unwrap();
    net.deployment.anvil.mine(2).await.unwrap();
    let end = Instant::now() + PATIENCE;
    let refused = loop {
        match broadcaster.ask(job, 0).await {
            Err(refused) => break refused,
            Ok(_) => assert!(Instant::now() < end, "the job does not end"),
        }
        sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains(&format!("ended with block {ended}")), "{refused}");
    let (status, text) = broadcaster.submit(&info, 9, clip[0].clone()).await;
    assert_eq!(status, 403, "{text}");
    assert!(text.contains(&format!("ended with block {ended}")), "{text}");
}

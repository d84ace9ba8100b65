//! What an orchestrator states of its work, as EIP-712 typed data (docs/designs/004-slashing.md).
use alloy_primitives::{Address, B256, U256, b256, keccak256};
use streamflow_types::Signature65;

use crate::{SignError, SignatureError, TicketSigner, recover_signer};

/// `Receipt(address orchestrator,…,bool deterministic)`.
const TYPE: &[u8] = b"Receipt(address orchestrator,address sender,bytes32 service,bytes32 manifest,uint256 sequence,\
bytes32 sourceHash,bytes32 settings,bytes32 software,bytes32[] resultHashes,uint256 round,bool deterministic)";
const DOMAIN_TYPE: &[u8] = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
/// Service that this node sells, as in ServiceRegistry: its name, with zeros on the right.
pub const TRANSCODING_H264: B256 = b256!("7472616e73636f64696e672f6832363400000000000000000000000000000000");

/// Where a receipt counts: the chain, and the contract that judges challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptDomain {
    /// Id of the chain.
    pub chain_id: u64,
    /// Registered as "Verifier".
    pub contract: Address,
}

impl ReceiptDomain {
    /// EIP-712 domain separator.
    pub fn separator(&self) -> B256 {
        words(&[
            keccak256(DOMAIN_TYPE),
            keccak256("Streamflow"),
            keccak256("1"),
            U256::from(self.chain_id).into(),
            self.contract.into_word(),
        ])
    }
}

/// One segment of work. The fields are those of `Receipt.sol`, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkReceipt {
    /// Whose stake answers; the signer.
    pub orchestrator: Address,
    /// Who paid.
    pub sender: Address,
    /// Id in ServiceRegistry.
    pub service: B256,
    /// keccak256 of the manifest id.
    pub manifest: B256,
    /// Number of the segment.
    pub sequence: u64,
    /// keccak256 of the source.
    pub source_hash: B256,
    /// Id of the settings.
    pub settings: B256,
    /// Id of the software.
    pub software: B256,
    /// keccak256 of each result, in the order of the profiles.
    pub result_hashes: Vec<B256>,
    /// In which it was signed.
    pub round: u64,
    /// Whether source, settings and software determine every bit of the results.
    pub deterministic: bool,
}

impl WorkReceipt {
    /// EIP-712 `hashStruct`.
    pub fn struct_hash(&self) -> B256 {
        let outcome =
            [words(&self.result_hashes), U256::from(self.round).into(), U256::from(self.deterministic).into()];
        words(&[&[keccak256(TYPE)], &self.job_words()[..], &outcome].concat())
    }

    /// Names the work, whatever came of it: fields 1 to 8.
    pub fn job(&self) -> B256 {
        words(&self.job_words())
    }

    fn job_words(&self) -> [B256; 8] {
        [
            self.orchestrator.into_word(),
            self.sender.into_word(),
            self.service,
            self.manifest,
            U256::from(self.sequence).into(),
            self.source_hash,
            self.settings,
            self.software,
        ]
    }

    /// What is signed.
    pub fn digest(&self, domain: &ReceiptDomain) -> B256 {
        keccak256([&[0x19, 0x01][..], domain.separator().as_slice(), self.struct_hash().as_slice()].concat())
    }

    /// Signs it.
    pub fn sign(self, domain: &ReceiptDomain, signer: &dyn TicketSigner) -> Result<SignedReceipt, SignError> {
        let signature = signer.sign_hash(self.digest(domain))?;
        Ok(SignedReceipt { receipt: self, signature })
    }
}

/// A receipt and who stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReceipt {
    /// The statement.
    pub receipt: WorkReceipt,
    /// Of its digest.
    pub signature: Signature65,
}

impl SignedReceipt {
    /// Whose key signed it.
    pub fn signer(&self, domain: &ReceiptDomain) -> Result<Address, SignatureError> {
        recover_signer(self.receipt.digest(domain), self.signature.as_bytes())
    }
}

/// Hash of the words one after the other, which is how an array is hashed too.
fn words(words: &[B256]) -> B256 {
    keccak256(words.iter().flat_map(|word| word.0).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{address, hex};

    use super::*;
    use crate::KeySigner;

    const DOMAIN: ReceiptDomain =
        ReceiptDomain { chain_id: 42_161, contract: address!("00000000000000000000000000000000000051A5") };

    /// The one of docs/designs/004-slashing.md and ReceiptEncoding.t.sol.
    fn vector() -> WorkReceipt {
        WorkReceipt {
            orchestrator: address!("9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"),
            sender: address!("000000000000000000000000000000000000bEEF"),
            service: TRANSCODING_H264,
            manifest: keccak256("5b6f2d1e"),
            sequence: 12,
            source_hash: keccak256("source segment"),
            settings: keccak256("settings"),
            software: keccak256("software"),
            result_hashes: vec![keccak256("rendition 0"), keccak256("rendition 1")],
            round: 3500,
            deterministic: true,
        }
    }

    #[test]
    fn every_hash_and_the_signature_are_those_of_the_contract() {
        let receipt = vector();
        let expected = |hash: &str| hash.parse::<B256>().unwrap();
        assert_eq!(keccak256(TYPE), expected("4812830279e75843fae9046f2cbdb3946604307b4dd9bc04d7ffaef6fa27fe9e"));
        assert_eq!(receipt.struct_hash(), expected("0c38a21ff1d7a046a72bfb070dd77c2ed58112a12cef2387663a6026106c2da5"));
        assert_eq!(DOMAIN.separator(), expected("08fdf7fd8b8710b95571f1207ee0c4605cafe78f0f87cefbbd83d5a0ec3cf3bb"));
        assert_eq!(
            receipt.digest(&DOMAIN),
            expected("6109dc20ffc45fe82d278b7bd171cfc21b695244515c7e72876851c872fd1b40")
        );
        assert_eq!(receipt.job(), expected("078c17503154e366fe5cd7cc67e7f10386e2603e162c2f9cf1ff7061db38ec9b"));
        let key = KeySigner::from_bytes([0x46; 32]).unwrap();
        let signed = receipt.sign(&DOMAIN, &key).unwrap();
        let signature = hex!(
            "e0ce9fed1d96a24549886274099b454333997461235316a0b971d5cd527f0652"
            "7dc9196926ca8b76e34d85e18919da8a26e218ccedd874282b0763b20381d1491b"
        );
        assert_eq!(signed.signature.as_bytes()[..], signature);
        assert_eq!(signed.signer(&DOMAIN), Ok(key.address()));
    }

    #[test]
    fn every_field_and_the_domain_are_signed_and_results_round_and_flag_are_not_the_job() {
        let base = vector();
        let changes: [fn(&mut WorkReceipt); 12] = [
            |r| r.orchestrator = Address::ZERO,
            |r| r.sender = Address::ZERO,
            |r| r.service = B256::ZERO,
            |r| r.manifest = B256::ZERO,
            |r| r.sequence = 0,
            |r| r.source_hash = B256::ZERO,
            |r| r.settings = B256::ZERO,
            |r| r.software = B256::ZERO,
            |r| r.result_hashes[1] = B256::ZERO,
            |r| r.result_hashes.clear(),
            |r| r.round = 0,
            |r| r.deterministic = false,
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut changed = base.clone();
            change(&mut changed);
            assert_ne!(changed.digest(&DOMAIN), base.digest(&DOMAIN), "{index}");
            assert_eq!(changed.job() == base.job(), index >= 8, "{index}");
        }
        let elsewhere = ReceiptDomain { chain_id: 1, ..DOMAIN };
        assert_ne!(base.digest(&elsewhere), base.digest(&DOMAIN));
    }
}

//! Published vectors of what is signed: node.md §11.3, and the names of §4.7.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use alloy_primitives::{Address, B256, address, b256, hex, keccak256};
use streamflow_pm::{KeySigner, TicketSigner};
use streamflow_types::{ManifestId, Profile};
use streamflow_wire::{
    SegmentError, SegmentRequest, flatten, is_signed_by, proto, request_hash, result_hash, result_hash_of, sign_ping,
    sign_request, sign_result, sign_segment, verify_ping, verify_request, verify_segment,
};

const SIGNER: Address = address!("1a642f0E3c3aF545E7AcBD38b07251B3990914F1");
const SEGMENT_SIG: &str = "a86ca520a46fb8fe36d9c8a75f45cb257be18e0d443d0348260649aecfff92ff3c417d0be199804c535a5c09d378f3dbaf3096476732df58efa1fd1bce0e3ec01b";

fn signer() -> KeySigner {
    KeySigner::from_bytes([1; 32]).unwrap()
}

fn segment() -> SegmentRequest {
    let mut hash = B256::ZERO;
    hash[..6].copy_from_slice(b"browns");
    let profiles = ["P144p30fps16x9", "P240p30fps16x9"].map(|name| Profile::preset(name).unwrap());
    SegmentRequest::new(ManifestId::new("abcdef").unwrap(), 1234, hash, profiles.into(), 2000)
}

#[test]
fn segment_layout() {
    let bytes = segment().flatten();
    assert_eq!(bytes.len(), 86);
    assert!(bytes.starts_with(b"abcdef"));
    assert!(bytes.ends_with(b"fca40bf9c0a6517a"));
    assert_eq!(keccak256(bytes), b256!("08a398e7e7a5a545b0b07d9e7e1eab52b4131e0df1621bd53ee6e7550a15465b"));
}

#[test]
fn segment_signature() {
    let mut segment = segment();
    sign_segment(&mut segment, &signer()).unwrap();
    assert_eq!(hex::encode(&segment.sig), SEGMENT_SIG);
    assert!(verify_segment(&segment, SIGNER));
    assert!(!verify_segment(&segment, Address::ZERO));
}

#[test]
fn a_changed_segment_is_not_the_signed_one() {
    let mut signed = segment();
    sign_segment(&mut signed, &signer()).unwrap();
    let changes: [fn(&mut SegmentRequest); 6] = [
        |s| s.manifest_id = ManifestId::new("abcdeg").unwrap(),
        |s| s.seq += 1,
        |s| s.hash[31] ^= 1,
        |s| s.profiles[0].name.push('x'),
        |s| s.profiles.reverse(),
        |s| s.sig.clear(),
    ];
    for change in changes {
        let mut changed = signed.clone();
        change(&mut changed);
        assert!(!verify_segment(&changed, SIGNER));
    }
}

/// What a peer's remote signer sends with a payment: an empty segment, no profile, and `invalid` in the legacy field.
#[test]
fn credentials_for_an_empty_segment_need_no_profiles() {
    let mut signed = SegmentRequest::new(ManifestId::new("abcdef").unwrap(), 0, keccak256([]), Vec::new(), 2000);
    assert_eq!(
        hex::encode(signed.flatten()),
        "616263646566\
         0000000000000000000000000000000000000000000000000000000000000000\
         c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    );
    sign_segment(&mut signed, &signer()).unwrap();
    for legacy in [b"invalid".as_slice(), b""] {
        let sent = proto::SegData { profiles: legacy.to_vec(), duration: 0, ..signed.to_proto() };
        let read = SegmentRequest::of_payment(sent.clone()).unwrap();
        assert_eq!(read, signed);
        assert!(verify_segment(&read, SIGNER));
        assert_eq!(SegmentRequest::from_proto(sent), Err(SegmentError::NoProfiles), "there would be nothing to make");
    }
    // Profiles that are named are part of what is signed.
    let named = proto::SegData { full_profiles: segment().to_proto().full_profiles, ..signed.to_proto() };
    assert!(!verify_segment(&SegmentRequest::of_payment(named).unwrap(), SIGNER));
}

#[test]
fn preset_names_hash_as_published() {
    let rows = [
        ("P720p60fps16x9", "a7ac137a"),
        ("P720p30fps16x9", "49d54ea9"),
        ("P720p25fps16x9", "e4a64019"),
        ("P720p30fps4x3", "79332fe7"),
        ("P576p30fps16x9", "5ecf4b52"),
        ("P576p25fps16x9", "8b1843d6"),
        ("P360p30fps16x9", "93c717e7"),
        ("P360p25fps16x9", "7cd40fc7"),
        ("P360p30fps4x3", "b60382a0"),
        ("P240p30fps16x9", "c0a6517a"),
        ("P240p25fps16x9", "1301a7d0"),
        ("P240p30fps4x3", "d435c53a"),
        ("P144p30fps16x9", "fca40bf9"),
        ("P144p25fps16x9", "03f01d1f"),
    ];
    let manifest = ManifestId::new("m").unwrap();
    for (name, expected) in rows {
        assert_eq!(Profile::preset(name).unwrap().name, name);
        assert!(flatten(&manifest, 0, B256::ZERO, [name]).ends_with(expected.as_bytes()));
    }
}

#[test]
fn request_signature() {
    assert_eq!(request_hash(SIGNER), b256!("aebff4ff02689ef8481671c00aac58aef7c0efa92d80012b6309a16f9982b2fc"));
    let request = sign_request(&signer(), None).unwrap();
    assert_eq!(
        hex::encode(&request.sig),
        "f43599799a5e0e37c926e84208112385030179cba9b7fbe255758615229836243295b04081924e7fa6a4236cca49532205a0eb896adaf9e5127ca861627104321c"
    );
    assert_eq!(verify_request(&request), Some(SIGNER));
}

#[test]
fn a_request_in_anothers_name_is_refused() {
    let mut request = sign_request(&signer(), None).unwrap();
    request.address[0] ^= 1;
    assert_eq!(verify_request(&request), None);
    request.address.pop();
    assert_eq!(verify_request(&request), None);
    assert_eq!(verify_request(&Default::default()), None);
}

#[test]
fn result_signature() {
    let result = result_hash([b"rend0".as_slice(), b"rend1"]);
    assert_eq!(result, b256!("ecdcf0c876d1a313a294a4f9bedb9eaa3ecedb1c9764a811118a891f3303366e"));
    assert_eq!(result, result_hash_of([keccak256(b"rend0"), keccak256(b"rend1")]));
    assert_ne!(result, result_hash([b"rend1".as_slice(), b"rend0"]));
    let sig = sign_result(result, &signer()).unwrap();
    assert_eq!(
        hex::encode(sig.as_bytes()),
        "941099989fffb1e9bcd579c972b2ee3eaf4dac8956255887da8daca6e12a44b7465556c5c7077c0943e0cfdbdb5ed5cd9f4a1ad58fe9b201a1baf7b35a64750e1b"
    );
    assert!(is_signed_by(result, sig.as_bytes(), SIGNER));
}

#[test]
fn ping_answer() {
    let answer = sign_ping(b"ping", &signer()).unwrap();
    assert_eq!(
        hex::encode(&answer.value),
        "0d07bc8d2c12c1d397981bcfe9d60de6ee188ddc55c9afc65de64bb441a986f77881c51afc2cbe3f77e9ffed9f06a1e608c6d96d53c0f2609c8895ac03ca5d8f1c"
    );
    assert!(verify_ping(b"ping", &answer, SIGNER));
    assert!(!verify_ping(b"pong", &answer, SIGNER));
}

#[test]
fn the_key_has_the_published_address_and_no_body_its_hash() {
    assert_eq!(signer().address(), SIGNER);
    assert_eq!(keccak256([]), b256!("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"));
}

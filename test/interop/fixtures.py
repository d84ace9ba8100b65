#!/usr/bin/env python3
"""The byte fixtures: messages, headers and signed bytes, made by this program's own encoder and curve.

`fixtures.py` writes fixtures/*.json; `fixtures.py --check` says whether they are what it would write, and checks the
published vectors on the way.
"""
import base64
import hashlib
import hmac
import json
import pathlib
import sys

from curve import address, checksum, keccak, recover, sign
from messages import NAMES, message

HERE = pathlib.Path(__file__).parent / "fixtures"
KEY = int.from_bytes(b"\x01" * 32, "big")
MAX = 2**256 - 1


def minimal(number):
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def word(number):
    return number.to_bytes(32, "big")


def make(name, /, **fields):
    return message(name)(**fields)


def flatten_segment(manifest, seq, digest, names):
    return manifest + word(seq) + digest + b"".join(keccak(n.encode())[:4].hex().encode() for n in names)


def flatten_ticket(recipient, sender, face, probability, nonce, rand_hash, creation_round=0, block_hash=bytes(32)):
    aux = b"" if creation_round == 0 and block_hash == bytes(32) else word(creation_round) + block_hash
    return recipient + sender + word(face) + word(probability) + word(nonce) + rand_hash + aux


def capabilities():
    model = make("ModelConstraint", warm=True, capacity=2, runnerVersion="0.0.2", capacityInUse=1)
    constraints = make("Constraints", minVersion="0.8.1")
    constraints.PerCapability[35].models["pipe"].CopyFrom(model)
    made = make("Capabilities", bitstring=[0x4001FFF, 3], mandatories=[1 << 12], version="0.9.1")
    made.capacities[1] = 4
    made.capacities[26] = 1
    made.constraints.CopyFrom(constraints)
    return made


def profile(name, **fields):
    return make("VideoProfile", name=name, width=426, height=240, bitrate=600000, **fields)


def whole_profile():
    return profile(
        "full", fps=30000, format=1, fpsDen=1001, profile=4, gop=-1, encoder=1, colorDepth=10, chromaFormat=2, quality=23
    )


def token():
    return make("AuthToken", token=bytes(range(32)), session_id="deadbeef", expiration=1700000000)


def expiration():
    return make("TicketExpirationParams", creation_round=1673, creation_round_block_hash=b"\xa9" * 32)


def params(**more):
    return make(
        "TicketParams",
        recipient=b"\x9c" * 20,
        face_value=minimal(24703611594215916),
        win_prob=minimal(MAX // 4),
        recipient_rand_hash=b"\xd0" * 32,
        seed=minimal(256),
        expiration_block=minimal(19000000),
        **more,
    )


def price():
    return make("PriceInfo", pricePerUnit=1200, pixelsPerUnit=3, capability=27, constraint="pipe")


def store():
    s3 = make(
        "S3OSInfo",
        host="https://b.example",
        key="movie/deadbeef",
        policy="e30=",
        signature="5160",
        credential="KEY/20260101/eu/s3/aws4_request",
        xAmzDate="20260101T000000Z",
    )
    return make("OSInfo", storageType=1, s3info=s3)


def hardware():
    gpu = make("GPUComputeInfo", id="GPU-1", name="card", major=8, minor=9, memory_free=1 << 33, memory_total=1 << 34)
    made = make("HardwareInformation", pipeline="transcode", model_id="m")
    made.gpu_info["0"].CopyFrom(gpu)
    return made


def info():
    return make(
        "OrchestratorInfo",
        transcoder="https://o.example:8935",
        ticket_params=params(expiration_params=expiration()),
        price_info=price(),
        address=b"\x0a" * 20,
        capabilities=capabilities(),
        auth_token=token(),
        hardware=[hardware()],
        storage=[store(), make("OSInfo")],
        capabilities_prices=[price(), make("PriceInfo", pricePerUnit=-1)],
        nodes=["https://o2.example:8935", "https://o3.example:8935"],
    )


def segment(**more):
    fields = dict(
        manifestId=b"movie",
        seq=1234,
        hash=b"\x77" * 32,
        profiles=b"invalid",
        sig=b"\x1b" * 65,
        duration=2000,
        capabilities=capabilities(),
        auth_token=token(),
        calc_perceptual_hash=True,
        storage=[store()],
        ForceSessionReinit=True,
    )
    made = make("SegData", **{**fields, **more})
    # `from` is a word of Python.
    setattr(made.segment_parameters, "from", 100)
    made.segment_parameters.to = 900
    return made


def payment():
    return make(
        "Payment",
        ticket_params=params(),
        sender=b"\x3e" * 20,
        expiration_params=expiration(),
        ticket_sender_params=[ticket_sig(1), ticket_sig(4294967295)],
        expected_price=make("PriceInfo", pricePerUnit=1200, pixelsPerUnit=3),
    )


def ticket_sig(nonce):
    return make("TicketSenderParams", sender_nonce=nonce, sig=bytes([nonce % 256]) * 65)


def result_data():
    made = make("TranscodedSegmentData", url="https://o.example/stream/deadbeef/full/7.ts", pixels=5112000)
    hashed = make("TranscodedSegmentData", url="u", pixels=-1, perceptual_hash_url="u.phash")
    return make("TranscodeData", segments=[made, hashed], sig=b"\x1c" * 65)


def refusal():
    return make(
        "Refusal",
        code="OrchestratorCapped",
        got="10 sessions",
        limit="10 sessions",
        setting="orchestrator.max_sessions",
        advice="ask another",
    )


def all_messages():
    """Every message with every field, and some more: (name of the fixture, message)."""
    model = make("ModelConstraint", warm=True, capacity=2, runnerVersion="0.0.2", capacityInUse=1)
    models = make("CapabilityConstraints")
    models.models["pipe"].CopyFrom(model)
    part = make("SegParameters", to=900)
    setattr(part, "from", 100)
    return [
        ("PingPong", make("PingPong", value=b"ping")),
        (
            "OrchestratorRequest",
            make(
                "OrchestratorRequest",
                address=address(KEY),
                sig=sign(KEY, keccak(checksum(address(KEY)).encode())),
                capabilities=capabilities(),
                ignoreCapacityCheck=True,
            ),
        ),
        ("EndTranscodingSessionRequest", make("EndTranscodingSessionRequest", auth_token=token())),
        ("EndTranscodingSessionResponse", make("EndTranscodingSessionResponse")),
        ("OSInfo", store()),
        ("S3OSInfo", store().s3info),
        ("PriceInfo", price()),
        ("Capabilities", capabilities()),
        ("Capabilities with a key of 0", make("Capabilities", capacities={0: 4})),
        ("Constraints", capabilities().constraints),
        ("CapabilityConstraints", models),
        ("ModelConstraint", model),
        ("OrchestratorInfo", info()),
        ("AuthToken", token()),
        ("SegData", segment(fullProfiles3=[whole_profile(), profile("intra", gop=-1)])),
        ("SegData of TS profiles", segment(fullProfiles=[profile("a"), profile("b", fps=30)])),
        ("SegData of MP4 profiles", segment(fullProfiles2=[profile("a", format=1)])),
        ("SegParameters", part),
        ("VideoProfile", whole_profile()),
        ("TranscodedSegmentData", result_data().segments[1]),
        ("TranscodeData", result_data()),
        ("TranscodeResult", make("TranscodeResult", seq=7, data=result_data(), info=info())),
        ("TranscodeResult of an error", make("TranscodeResult", seq=-7, error="OrchestratorBusy", refusal=refusal())),
        ("PaymentResult", make("PaymentResult", info=info())),
        ("RegisterRequest", make("RegisterRequest", secret="swordfish", capacity=4, capabilities=capabilities())),
        (
            "NotifySegment",
            make(
                "NotifySegment",
                url="https://o.example/stream/deadbeef/7.tempfile",
                segData=segment(hash=bytes(32), storage=[], fullProfiles=[profile("a")]),
                taskId=42,
                profiles=b"invalid",
                orchId="offchain",
            ),
        ),
        (
            "NotifySegment of an end",
            make("NotifySegment", segData=make("SegData", auth_token=make("AuthToken", session_id="deadbeef"))),
        ),
        ("GPUComputeInfo", hardware().gpu_info["0"]),
        ("HardwareInformation", hardware()),
        ("TicketParams", params(expiration_params=expiration())),
        ("TicketSenderParams", ticket_sig(4294967295)),
        ("TicketExpirationParams", expiration()),
        ("Payment", payment()),
        ("Payment without tickets", make("Payment", sender=b"\x3e" * 20, expected_price=price())),
        (
            "Ticket",
            make(
                "Ticket",
                ticket_params=params(),
                sender=b"\x3e" * 20,
                expiration_params=expiration(),
                sender_params=ticket_sig(1),
                recipient_rand=minimal(1 << 200),
            ),
        ),
        ("QueueTicketRes", make("QueueTicketRes")),
        ("MaxFloatReq", make("MaxFloatReq", sender=b"\x3e" * 20)),
        ("MaxFloatUpdate", make("MaxFloatUpdate", max_float=minimal(10**18))),
        ("Refusal", refusal()),
    ]


def encode(made):
    return made.SerializeToString(deterministic=True)


def header(made):
    return base64.b64encode(encode(made)).decode()


def headers():
    return {
        "Livepeer-Segment": header(segment(fullProfiles=[profile("a"), profile("b", fps=30)])),
        "Livepeer-Payment": header(payment()),
        "Livepeer-Payment without a chain": "",
        "Streamflow-Orchestrator-Info": header(info()),
        "Streamflow-Refusal": header(refusal()),
        "Authorization": "Livepeer-Transcoder-1.0",
        "Content-Type of a segment": "video/MP2T",
        "Content-Type of a segment's URL": "application/vnd+livepeer.uri",
        "Content-Type of a transcoder's error": "livepeer/transcoding-error",
        "names": ["Livepeer-Segment", "Livepeer-Payment", "Credentials", "TaskId", "Pixels"],
    }


PRESETS = {
    "P720p60fps16x9": "a7ac137a", "P720p30fps16x9": "49d54ea9", "P720p25fps16x9": "e4a64019", "P720p30fps4x3": "79332fe7",
    "P576p30fps16x9": "5ecf4b52", "P576p25fps16x9": "8b1843d6", "P360p30fps16x9": "93c717e7", "P360p25fps16x9": "7cd40fc7",
    "P360p30fps4x3": "b60382a0", "P240p30fps16x9": "c0a6517a", "P240p25fps16x9": "1301a7d0", "P240p30fps4x3": "d435c53a",
    "P144p30fps16x9": "fca40bf9", "P144p25fps16x9": "03f01d1f",
}

TICKETS = [
    dict(
        recipient="9C10672CEE058Fd658103d90872fE431bb6C0AFa", face=24703611594215916,
        probability=4687253472865791949219216447262131914283161967982656133076290000000000000000, nonce=1,
        rand_hash="d00ef48a6825d9ae93097ad55bc76057fb50afc203aa98fd4e01aa6576d71298", round=0x689,
        block="a9f81d59be53a90a12cb12f627aa9e87c505320bad20a98fd98d5ed23bfe9a54",
        sig="5ff5265992f1a6563851d085f363b16ad65416baaee090ee368b59082437df7a"
            "0237214659511fc188d6a4ef57c988bb18faa3e99826c78e9e75eb29366745891b",
        rand=21160157592767011607011497540409649304524524744605816319294275445072062630355,
        hash="63d432158a2a3a15bdb5a87712e5cf0d1655d018a615d2e8806346536c0154c0", ev=1000000000000000,
        draw="032acb381b86925047219e35056c8ed0de09d7ca369a7221c1ce9f8221b37732",
    ),
    dict(
        recipient="a5E37e0BA14655e92DEff29F32adbc7D09b8a2cF", face=10000000000000000,
        probability=11579208923731619542357098500868790785326998466564056403945759000000000000, nonce=14,
        rand_hash="5309662eee5608da45aaefe60433adec052acab8683dd12d78aad8a0192b3bec", round=0x653,
        block="f3b1d2925fd1325a8a6ba8923fbe6de31dd93d9e85540eaf5a306f21177c3b8c",
        sig="90cb8a9280386cc77e9f3473bb87530cf9a1dbe5625013a9ed16675ad7607c80"
            "0bf4e32ee4cc6b9c785e1c786c9965831a8216c408b251f98d6c18bf1bf4d1621c",
        rand=31838803992704255588716800748284438047369588248489535212488229909862636233406,
        hash="d5104bbecf755deaa03acf83486f2414d749f5e9d98b9feb9a0ad3791413f7e4", ev=1000000000000,
        draw="00048748a6c474056ae4994bbf827c769bfff306709b6a484140e4dfc8a93d65",
    ),
]
SENDER = bytes.fromhex("3eE860A4abA830AF84EbBCE2b381fc11DB8493e2")


def check_ticket(case):
    data = bytes.fromhex
    flat = flatten_ticket(
        data(case["recipient"]), SENDER, case["face"], case["probability"], case["nonce"], data(case["rand_hash"]),
        case["round"], data(case["block"]),
    )
    assert keccak(flat).hex() == case["hash"]
    assert recover(keccak(flat), data(case["sig"])) == SENDER
    assert keccak(word(case["rand"])).hex() == case["rand_hash"]
    draw = keccak(data(case["sig"]) + word(case["rand"]))
    assert draw.hex() == case["draw"] and int.from_bytes(draw, "big") < case["probability"]
    assert case["face"] * case["probability"] // MAX == case["ev"]


def bitstring(bits):
    words = [0] * (max((bit // 64 for bit in bits if bit >= 0), default=-1) + 1)
    for bit in bits:
        if bit >= 0:
            words[bit // 64] |= 1 << bit % 64
    return words


def check_published():
    """The vectors that others have published or that were computed independently (node.md 4.7 and 11)."""
    data, zero = bytes.fromhex, bytes(20)
    rand_hash = data("41b1a0649752af1b28b3dc29a1556eee781e4a4c3a1f7f53f90fa834de098c4d")
    of = lambda *fields, **more: keccak(flatten_ticket(*fields, **more)).hex()
    none = bytes(32)
    assert of(zero, zero, 0, 0, 4294967295, none) == "e1393fc7f6de093780674022f96cb8e3872235167d037c04d554e58c0e63d280"
    assert of(zero, zero, 0, 0, 1, none) == "ce0918ba94518293e9712effbe5fca4f1f431089833a5b8c257cb1e024595f68"
    assert of(zero, zero, 1, 500, 0, none) == "87ef13f2d37e4d5352a01d3c77b8179d80e0887f1953bfabfd0bfd7b0f689ddd"
    assert of(zero, zero, 500, 1, 0, none) == "aa4b35071043587992ac8b9dd1b2cf1d8311130e6458cf0b2342484e21af5f5b"
    recipient = data("73AEd7b5dEb30222fa896f399d46cC99c7BEe57F")
    assert of(recipient, zero, 0, 0, 0, none) == "81e353ae39046e2b77b9f996abbaeed527fda559b61ef90f299c4499dd508ccc"
    assert of(zero, zero, 0, 0, 0, rand_hash) == "be5eaf9a49a39540b9bb02f1a21904f61324a29819e2c032824bfaa10c100b17"
    assert of(zero, zero, 0, 0, 0, none, 10, rand_hash) == (
        "e502907c16036ab3d11b78c5a2e93c20f3d6415c67f91de4ed01348182b3b2e2"
    )
    for case in TICKETS:
        check_ticket(case)
    told = data("b7da355477356fc4c47fcabcf232dc77a6db9b07b7e48b76261cc55cc8fbabb3")
    sig = data(
        "206443228e8f784bc3a122de0d85eb3ebff82d6a79cca26c7eeb907099a6404f"
        "6dff57bc6828f28bd6cd073c89d94cf3364204679ed8365fa45b5ee6af19a9841c"
    )
    assert checksum(recover(told, sig)) == "0x3BadDb1eeE2105893136A3F96c8a963E9C6309d6"
    high = data(
        "e742ff452d41413616a5bf43fe15dd88294e983d3d36206c2712f39083d638bd"
        "e0a0fc89be718fbc1033e1d30d78be1c68081562ed2e97af876f286f3453231d1b"
    )
    for bad, text in ((high, "signature s value too high"), (sig[:64], "invalid signature length"),
                      (sig[:64] + b"\x1d", "signature v value must be 27 or 28")):
        try:
            recover(told, bad)
            raise AssertionError("a bad signature was taken")
        except ValueError as error:
            assert str(error) == text
    for name, four in PRESETS.items():
        assert keccak(name.encode())[:4].hex() == four, name
    assert bitstring([-10, -1, 0, 1, 2, 3, 4, 5]) == [63]
    assert bitstring([193, 192]) == [0, 0, 0, 3]
    assert bitstring([193, 54, 192, 79]) == [1 << 54, 1 << 15, 0, 3]
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def signed():
    """What a key of 32 bytes of 1 signs, and the bytes beneath (node.md 11.3)."""
    flat = flatten_segment(b"abcdef", 1234, b"browns".ljust(32, b"\0"), ["P144p30fps16x9", "P240p30fps16x9"])
    text = checksum(address(KEY)).encode()
    renditions = keccak(keccak(b"rend0") + keccak(b"rend1"))
    mac = hmac.new(b"\x01" * 32, b"deadbeef" + minimal(1700000000), hashlib.sha256).hexdigest()
    made = {
        "address": checksum(address(KEY)),
        "request hash": keccak(text).hex(),
        "request": sign(KEY, keccak(text)).hex(),
        "segment flat": flat.hex(),
        "segment hash": keccak(flat).hex(),
        "segment": sign(KEY, keccak(flat)).hex(),
        "result hash": renditions.hex(),
        "result": sign(KEY, renditions).hex(),
        "ping": sign(KEY, keccak(b"ping")).hex(),
        "auth token": mac,
    }
    published = {
        "address": "0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1",
        "request hash": "aebff4ff02689ef8481671c00aac58aef7c0efa92d80012b6309a16f9982b2fc",
        "request": "f43599799a5e0e37c926e84208112385030179cba9b7fbe255758615229836243295b04081924e7fa6a4236cca495322"
                   "05a0eb896adaf9e5127ca861627104321c",
        "segment hash": "08a398e7e7a5a545b0b07d9e7e1eab52b4131e0df1621bd53ee6e7550a15465b",
        "segment": "a86ca520a46fb8fe36d9c8a75f45cb257be18e0d443d0348260649aecfff92ff3c417d0be199804c535a5c09d378f3dba"
                   "f3096476732df58efa1fd1bce0e3ec01b",
        "result hash": "ecdcf0c876d1a313a294a4f9bedb9eaa3ecedb1c9764a811118a891f3303366e",
        "result": "941099989fffb1e9bcd579c972b2ee3eaf4dac8956255887da8daca6e12a44b7465556c5c7077c0943e0cfdbdb5ed5cd9f4"
                  "a1ad58fe9b201a1baf7b35a64750e1b",
        "ping": "0d07bc8d2c12c1d397981bcfe9d60de6ee188ddc55c9afc65de64bb441a986f77881c51afc2cbe3f77e9ffed9f06a1e608c6d9"
                "6d53c0f2609c8895ac03ca5d8f1c",
        "auth token": "10c2a9066c53b3db08aeb38181d7b0de563eaaa0dfbb9aaebf0166c9edad53b3",
    }
    assert made["segment flat"].endswith(b"fca40bf9c0a6517a".hex()) and len(flat) == 86
    for name, value in published.items():
        assert made[name] == value, name
    return made


def files():
    made = all_messages()
    missing = set(NAMES) - {message.DESCRIPTOR.name for _, message in made}
    assert not missing, f"messages without a fixture: {missing}"
    return {
        "messages.json": {name: encode(message).hex() for name, message in made},
        "headers.json": headers(),
        "signed.json": signed(),
        "presets.json": PRESETS,
    }


def main():
    check_published()
    stale = []
    for name, contents in files().items():
        text, file = json.dumps(contents, indent=1) + "\n", HERE / name
        if "--check" not in sys.argv:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            stale.append(name)
    if stale:
        sys.exit(f"fixtures differ from what the second encoder makes: {stale}; test/interop/fixtures.py writes them")
    print("fixtures are what the second encoder makes")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A gateway and a transcoder that know our orchestrator by the specification alone, and check each of its answers.

peer.py HOST:PORT SECRET [--paid]

It runs against an orchestrator without a transcoder: this program is the transcoder too.
"""
import base64
import hashlib
import http.client
import json
import queue
import ssl
import sys
import threading
import time
import urllib.parse

import grpc

from curve import address, checksum, keccak, recover, sign
from fixtures import flatten_segment, flatten_ticket, minimal
from messages import message

KEY = int.from_bytes(hashlib.sha256(b"a gateway of the interop test").digest(), "big")
BODY = b"a segment that this program transcodes itself" * 100
MAX = 2**256 - 1
PROFILES = [("240p", 426, 240), ("180p", 320, 180)]


def same(got, expected, what):
    if got != expected:
        raise AssertionError(f"{what}: got {got!r}, expected {expected!r}")


class Orchestrator:
    def __init__(self, host, paid):
        self.host, self.paid = host, paid
        name, port = host.split(":")
        certificate = ssl.get_server_certificate((name, int(port)))
        credentials = grpc.ssl_channel_credentials(certificate.encode())
        self.channel = grpc.secure_channel(host, credentials)
        self.tls = ssl._create_unverified_context()

    def call(self, service, method, request, answer):
        path = f"/net.{service}/{method}"
        send = lambda made: made.SerializeToString()
        call = self.channel.unary_unary(path, request_serializer=send, response_deserializer=message(answer).FromString)
        return call(request, timeout=10)

    def refused(self, service, method, request, answer):
        """The status of a call that must fail, and the refusal in its metadata."""
        try:
            self.call(service, method, request, answer)
        except grpc.RpcError as error:
            told = dict(error.trailing_metadata() or ())
            return error.code(), error.details(), read_refusal(told.get("streamflow-refusal-bin"))
        raise AssertionError(f"{method} was not refused")

    def post(self, path, headers, body):
        connection = http.client.HTTPSConnection(self.host, context=self.tls, timeout=30)
        connection.request("POST", path, body, headers)
        return connection.getresponse()

    def get(self, url):
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPSConnection(parts.netloc, context=self.tls, timeout=10)
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def read_refusal(data):
    return message("Refusal").FromString(data) if data else None


def told(answer):
    """The refusal in the header of an HTTP answer."""
    header = answer.headers["Streamflow-Refusal"]
    return read_refusal(base64.b64decode(header)) if header else None


def bits(*numbers):
    return message("Capabilities")(bitstring=[sum(1 << n for n in numbers)])


def question(paid):
    request = message("OrchestratorRequest")(address=bytes(20))
    if paid:
        account = address(KEY)
        request.address, request.sig = account, sign(KEY, keccak(checksum(account).encode()))
    return request


def check_discovery(orchestrator):
    paid = orchestrator.paid
    poll = orchestrator.call("Orchestrator", "GetOrchestrator", question(paid), "OrchestratorInfo")
    job = question(paid)
    job.capabilities.CopyFrom(bits(0, 1, 4, 12))
    info = orchestrator.call("Orchestrator", "GetOrchestrator", job, "OrchestratorInfo")
    for one in (poll, info):
        same(one.transcoder, f"https://{orchestrator.host}", "service URI")
        same(one.price_info.pixelsPerUnit > 0, True, "price")
        same(len(one.auth_token.token), 32, "token")
        same(len(one.auth_token.session_id), 32, "session id")
        same(one.HasField("ticket_params"), paid, "ticket params")
        same(one.capabilities.mandatories[0] >> 12 & 1, 1, "bit 12 is mandatory")
        same(one.capabilities.bitstring[0] >> 14 & 1, 0, "MPEG-7 signatures are not offered")
        same(bool(one.storage), False, "storage")
        same((len(one.hardware), len(one.capabilities_prices)), (0, 0), "runners and models: there are none")
    same(poll.auth_token.session_id != info.auth_token.session_id, True, "a session for each question")
    if paid:
        params = info.ticket_params
        same([len(params.recipient), len(params.recipient_rand_hash)], [20, 32], "lengths")
        same(params.recipient, info.address, "recipient")
        for number in (params.face_value, params.win_prob, params.seed, params.expiration_block):
            same(number[:1] != b"\0" and len(number) <= 32, True, "minimal numbers")
        forged = question(True)
        forged.sig = forged.sig[:64] + bytes([55 - forged.sig[64]])
        code, text, refusal = orchestrator.refused("Orchestrator", "GetOrchestrator", forged, "OrchestratorInfo")
        same((code, text), (grpc.StatusCode.UNKNOWN, "Invalid orchestrator request: orchestrator req sig check failed"), "")
        same(refusal.code, "RequestNotSigned", "code")
    return info


def check_ping(orchestrator, info):
    value = keccak(b"a challenge")
    answer = orchestrator.call("Orchestrator", "Ping", message("PingPong")(value=value), "PingPong")
    if orchestrator.paid:
        same(recover(keccak(value), answer.value), info.address, "signer of the ping")
    else:
        same(answer.value, b"", "ping without a chain")


def segment_header(orchestrator, info, seq, body, change=lambda made: None):
    made = message("SegData")(
        manifestId=b"interop", seq=seq, hash=keccak(body), profiles=b"invalid", duration=2000,
        capabilities=bits(0, 1, 4, 12), auth_token=info.auth_token,
    )
    for name, width, height in PROFILES:
        made.fullProfiles.add(name=name, width=width, height=height, bitrate=300000)
    if orchestrator.paid:
        flat = flatten_segment(b"interop", seq, made.hash, [name for name, *_ in PROFILES])
        made.sig = sign(KEY, keccak(flat))
    change(made)
    return base64.b64encode(made.SerializeToString()).decode()


def headers(segment, payment, kind="video/MP2T"):
    return {"Livepeer-Segment": segment, "Livepeer-Payment": payment, "Content-Type": kind}


class Purse:
    """Pays with tickets, or not at all."""

    def __init__(self, paid, info):
        self.paid, self.params, self.price = paid, info.ticket_params, info.price_info
        self.nonce = 0

    def header(self, count):
        if not self.paid:
            return ""
        params, account = self.params, address(KEY)
        made = message("Payment")(sender=account, expected_price=self.price)
        if count:
            made.ticket_params.CopyFrom(params)
            made.ticket_params.ClearField("expiration_params")
            # A tag that deployed gateways do not know, and so do not send back.
            made.ticket_params.DiscardUnknownFields()
            made.expiration_params.CopyFrom(params.expiration_params)
        for _ in range(count):
            self.nonce += 1
            number = lambda data: int.from_bytes(data, "big")
            creation = params.expiration_params
            flat = flatten_ticket(
                params.recipient, account, number(params.face_value), number(params.win_prob), self.nonce,
                params.recipient_rand_hash, creation.creation_round, creation.creation_round_block_hash,
            )
            made.ticket_sender_params.add(sender_nonce=self.nonce, sig=sign(KEY, keccak(flat)))
        return base64.b64encode(made.SerializeToString()).decode()


def check_refusals(orchestrator, info, purse):
    """Rows of the table of statuses (node.md 2.4, 11.6), with the code of each."""
    good = lambda: segment_header(orchestrator, info, 0, BODY)

    def refused(payment, segment, status, text, code, body=BODY, kind="video/MP2T"):
        answer = orchestrator.post("/segment", headers(segment, payment, kind), body)
        got = answer.read().decode()
        same(answer.status, status, f"status of {code}: {got}")
        same(got.startswith(text), True, f"text of {code}: {got}")
        refusal = told(answer)
        same(refusal.code, code, "code")
        same(bool(refusal.got and refusal.limit and refusal.advice), True, f"figures and advice of {code}")

    def spoilt(change):
        return segment_header(orchestrator, info, 0, BODY, change)

    def no_token(made):
        made.ClearField("auth_token")

    def long(made):
        made.duration = 300001

    def format_nine(made):
        made.fullProfiles[0].format = 9

    def hevc(made):
        made.capabilities.bitstring[0] |= 1 << 16

    def forged(made):
        made.auth_token.token = bytes(32)

    refused("***", good(), 402, "base64 decode error: ", "PaymentHeaderUnreadable")
    junk = base64.b64encode(b"\xff" * 9).decode()
    refused(junk, good(), 402, "protobuf unmarshal error: ", "PaymentHeaderUnreadable")
    refused(purse.header(0), "***", 403, "ErrorSegEncoding", "SegmentHeaderUnreadable")
    refused(purse.header(0), spoilt(long), 403, "invalid duration", "DurationOutOfRange")
    refused(purse.header(0), spoilt(format_nine), 403, "unrecognized profile output format", "ProfileFeatureUnknown")
    refused(purse.header(0), spoilt(hevc), 403, "incompatible capabilities", "CapabilityMissing")
    refused(purse.header(0), spoilt(no_token), 403, "missing auth token", "AuthTokenMissing")
    refused(purse.header(0), spoilt(forged), 403, "invalid auth token", "AuthTokenInvalid")
    if orchestrator.paid:
        refused("", good(), 403, "ErrSegSig", "SegmentNotSignedBySender")
        refused(purse.header(0), good(), 400, "Insufficient balance", "InsufficientBalance")
    refused(purse.header(2), good(), 403, "Forbidden", "SegmentHashMismatch", b"other bytes")
    refused(purse.header(0), good(), 400, "BadRequest", "UrlNotTaken", b"http://127.0.0.1:9/", "application/vnd+livepeer.uri")


class Transcoder:
    """Takes segments over the stream of RegisterTranscoder."""

    def __init__(self, orchestrator, secret):
        self.orchestrator, self.secret, self.notices = orchestrator, secret, queue.Queue()
        send = lambda made: made.SerializeToString()
        read = message("NotifySegment").FromString
        path = "/net.Transcoder/RegisterTranscoder"
        register = orchestrator.channel.unary_stream(path, request_serializer=send, response_deserializer=read)
        for wrong, text, code in (
            (message("RegisterRequest")(secret="wrong", capacity=1), "invalid secret", "TranscoderSecretWrong"),
            (message("RegisterRequest")(secret=secret), "zero capacity", "TranscoderCapacityInvalid"),
        ):
            try:
                next(register(wrong, timeout=5))
                raise AssertionError("a bad registration was taken")
            except grpc.RpcError as error:
                same((error.code(), error.details()), (grpc.StatusCode.UNKNOWN, text), "registration")
                same(read_refusal(dict(error.trailing_metadata())["streamflow-refusal-bin"]).code, code, "code")
        # Without capabilities: the default set is assumed.
        self.stream = register(message("RegisterRequest")(secret=secret, capacity=2))
        threading.Thread(target=self._listen, daemon=True).start()
        # The stream says nothing when it is open.
        time.sleep(1)

    def _listen(self):
        try:
            for notice in self.stream:
                self.notices.put(notice)
        except grpc.RpcError:
            pass

    def notice(self):
        return self.notices.get(timeout=20)

    def post(self, task, kind, body, pixels="1", secret=None):
        headers = {
            "Authorization": "Livepeer-Transcoder-1.0", "Credentials": secret or self.secret, "TaskId": str(task),
            "Content-Type": kind, "Pixels": pixels,
        }
        answer = self.orchestrator.post("/transcodeResults", headers, body)
        return answer.status, answer.read().decode(), told(answer)


def renditions(seq):
    return [f"rendition {name} of {seq}".encode() * 10 for name, *_ in PROFILES]


def multipart(made, pixels):
    parts = [
        f"--edge\r\nContent-Type: video/mp2t\r\nContent-Length: {len(data)}\r\nPixels: {count}\r\n\r\n".encode() + data
        for data, count in zip(made, pixels)
    ]
    return b"\r\n".join(parts) + b"\r\n--edge--\r\n"


def check_task(notice, info, seq):
    same(notice.segData.hash, bytes(32), "hash is cleared")
    same(len(notice.segData.storage), 0, "storage is cleared")
    same(notice.profiles, b"invalid", "legacy profiles")
    same(notice.segData.seq, seq, "number")
    same(notice.segData.auth_token.session_id, info.auth_token.session_id, "session")
    same([p.name for p in notice.segData.fullProfiles], [name for name, *_ in PROFILES], "profiles in field 33")
    same(notice.url.endswith(f"/stream/{info.auth_token.session_id}/{seq}.tempfile"), True, notice.url)


def send_segment(orchestrator, info, purse, seq):
    """The answer to a segment that is taken: its head is here while nobody has transcoded anything."""
    segment = segment_header(orchestrator, info, seq, BODY)
    answer = orchestrator.post("/segment", headers(segment, purse.header(2)), BODY)
    same(answer.status, 200, "status")
    return answer


def check_segment(orchestrator, transcoder, info, purse, seq):
    answer = send_segment(orchestrator, info, purse, seq)
    notice = transcoder.notice()
    check_task(notice, info, seq)
    same(orchestrator.get(notice.url), (200, BODY), "input")
    task, mixed, made = notice.taskId, "multipart/mixed; boundary=edge", renditions(seq)
    body = multipart(made, (500, 300))
    for (status, text, refusal), expected in (
        (transcoder.post(task, mixed, body, secret="wrong"), (401, "Unauthorized", "TranscoderSecretWrong")),
        (transcoder.post(task, "video/mp2t", body), (415, "mime: ", "ResultTypeUnknown")),
        (transcoder.post("one", mixed, body), (400, "Invalid Task ID", "TaskUnknown")),
        (transcoder.post(task, mixed, body, pixels="many"), (400, "Invalid Pixels", "ResultPixelsInvalid")),
    ):
        same((status, text.startswith(expected[1]), refusal.code), (expected[0], True, expected[2]), text)
    same(transcoder.post(task, mixed, body)[:2], (200, "OK"), "result")
    result = message("TranscodeResult").FromString(answer.read())
    same((result.seq, result.WhichOneof("result"), result.HasField("refusal")), (seq, "data", False), "result")
    same([segment.pixels for segment in result.data.segments], [500, 300], "pixels")
    for segment, data, (name, *_) in zip(result.data.segments, made, PROFILES):
        same(segment.url, f"{info.transcoder}/stream/{info.auth_token.session_id}/{name}/{seq}.ts", "url")
        same(orchestrator.get(segment.url), (200, data), "rendition")
    signed = keccak(b"".join(keccak(data) for data in made))
    if orchestrator.paid:
        same(recover(signed, result.data.sig), info.address, "signer of the result")
        same(result.info.ticket_params.recipient_rand_hash != purse.params.recipient_rand_hash, True, "fresh params")
        purse.params, purse.nonce = result.info.ticket_params, 0
    else:
        same(result.data.sig, b"", "signature without a chain")
    same(result.info.auth_token, info.auth_token, "token comes back")


def check_failure(orchestrator, transcoder, info, purse, seq):
    answer = send_segment(orchestrator, info, purse, seq)
    for text in (b"Decoder not found",):
        same(transcoder.post(transcoder.notice().taskId, "livepeer/transcoding-error", text)[:2], (200, "OK"), "report")
    result = message("TranscodeResult").FromString(answer.read())
    same((result.WhichOneof("result"), result.error), ("error", "Decoder not found"), "result")
    same(result.refusal.code, "SegmentFormatDidntMatchJobInputParams", "code")


def check_payment(orchestrator, info):
    purse = Purse(True, orchestrator.call("Orchestrator", "GetOrchestrator", question(True), "OrchestratorInfo"))
    ask = json.dumps({"sender": "0x" + address(KEY).hex(), "manifest_id": "interop"})
    answer = orchestrator.post("/refresh-payment", {"Content-Type": "application/json"}, ask)
    same((answer.status, told(answer).code), (409, "PriceNotPinned"), "no price yet")
    answer.read()
    answer = orchestrator.post("/payment", headers(segment_header(orchestrator, info, 0, b""), purse.header(3)), b"")
    same(answer.status, 200, "payment")
    paid = message("PaymentResult").FromString(answer.read())
    same(paid.info.auth_token, info.auth_token, "token comes back")
    answer = orchestrator.post("/refresh-payment", {"Content-Type": "application/json"}, ask)
    same(answer.status, 200, "refresh")
    fresh = message("OrchestratorInfo").FromString(base64.b64decode(json.load(answer)["orchestrator_info"]))
    same(fresh.price_info, paid.info.price_info, "pinned price")
    same(len(fresh.ticket_params.recipient_rand_hash), 32, "fresh params")


def check_end(orchestrator, transcoder, info):
    request = message("EndTranscodingSessionRequest")
    forged = message("AuthToken")(token=bytes(32), session_id=info.auth_token.session_id, expiration=info.auth_token.expiration)
    for bad in (request(), request(auth_token=forged)):
        code, text, _ = orchestrator.refused("Orchestrator", "EndTranscodingSession", bad, "EndTranscodingSessionResponse")
        same((code, text), (grpc.StatusCode.UNKNOWN, "Invalid auth token"), "end of another's session")
    end = request(auth_token=info.auth_token)
    orchestrator.call("Orchestrator", "EndTranscodingSession", end, "EndTranscodingSessionResponse")
    notice = transcoder.notice()
    same((notice.url, notice.segData.auth_token.session_id), ("", info.auth_token.session_id), "teardown")


def main():
    host, secret, *mode = sys.argv[1:]
    orchestrator = Orchestrator(host, mode == ["--paid"])
    info = check_discovery(orchestrator)
    check_ping(orchestrator, info)
    purse = Purse(orchestrator.paid, info)
    check_refusals(orchestrator, info, purse)
    transcoder = Transcoder(orchestrator, secret)
    for seq in range(2):
        check_segment(orchestrator, transcoder, info, purse, seq)
    check_failure(orchestrator, transcoder, info, purse, 2)
    if orchestrator.paid:
        check_payment(orchestrator, info)
    check_end(orchestrator, transcoder, info)
    print("every answer is as the specification says")


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""The protocol of 2018 by another encoder: Python's protobuf and gRPC, with messages described here from the protocol.

  jobs_2018.py check                                         holds jobs_2018.json against what Python encodes
  jobs_2018.py ask HOST:PORT CERTIFICATE JOB BLOCK SIGNATURE  calls GetTranscoder, prints the answer or the refusal as JSON
"""

import base64
import json
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FIXTURES = Path(__file__).resolve().parent / "jobs_2018.json"
METHOD = "/net.Orchestrator/GetTranscoder"
FIELD = descriptor_pb2.FieldDescriptorProto
# Message: field, number, type.
MESSAGES = {
    "TranscoderRequest": [
        ("jobId", 1, FIELD.TYPE_INT64),
        ("sig", 2, FIELD.TYPE_BYTES),
        ("currentBlock", 1000, FIELD.TYPE_INT64),
    ],
    "TranscoderInfo": [
        ("transcoder", 1, FIELD.TYPE_STRING),
        ("authType", 2, FIELD.TYPE_STRING),
        ("credentials", 3, FIELD.TYPE_STRING),
    ],
    "AuthToken": [("sig", 1, FIELD.TYPE_BYTES), ("jobId", 16, FIELD.TYPE_INT64)],
    "SegData": [("seq", 1, FIELD.TYPE_INT64), ("hash", 2, FIELD.TYPE_BYTES), ("sig", 3, FIELD.TYPE_BYTES)],
}


def classes():
    """The messages, by name."""
    file = descriptor_pb2.FileDescriptorProto(name="jobs_2018.proto", package="net", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            message.field.add(name=field, number=number, type=kind, label=FIELD.LABEL_OPTIONAL)
        if name == "TranscoderInfo":
            # A map is a repeated pair of key and value.
            entry = message.nested_type.add(name="StreamIdsEntry")
            entry.options.map_entry = True
            for field, number in [("key", 1), ("value", 2)]:
                entry.field.add(name=field, number=number, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
            message.field.add(
                name="streamIds",
                number=16,
                type=FIELD.TYPE_MESSAGE,
                type_name=".net.TranscoderInfo.StreamIdsEntry",
                label=FIELD.LABEL_REPEATED,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    make = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    return {name: make(pool.FindMessageTypeByName(f"net.{name}")) for name in MESSAGES}


def check():
    """Whether every message of the fixtures has the bytes that Python makes of its fields, and is read back from them."""
    net, known = classes(), json.loads(FIXTURES.read_text())
    request, token, segment, info = (known[name] for name in ("request", "token", "segment", "info"))
    sig = bytes.fromhex(request["sig"])
    cases = {
        "request": (
            net["TranscoderRequest"](jobId=known["job"], sig=sig, currentBlock=known["current_block"]),
            request["bytes"],
        ),
        "request of 2018": (net["TranscoderRequest"](jobId=known["job"], sig=sig), request["bytes_of_2018"]),
        "token": (net["AuthToken"](jobId=known["job"], sig=bytes.fromhex(token["sig"])), token["bytes"]),
        "segment": (
            net["SegData"](seq=known["seq"], hash=bytes.fromhex(segment["hash"]), sig=bytes.fromhex(segment["sig"])),
            segment["bytes"],
        ),
        "info": (
            net["TranscoderInfo"](
                transcoder=info["transcoder"],
                authType=info["auth_type"],
                credentials=info["credentials"],
                streamIds=info["stream_ids"],
            ),
            info["bytes"],
        ),
    }
    wrong = []
    for name, (message, expected) in cases.items():
        made = message.SerializeToString(deterministic=True)
        read = type(message).FromString(bytes.fromhex(expected))
        if made.hex() != expected or read != message:
            wrong.append(f"{name}: Python makes {made.hex()}, the fixture has {expected}")
    for name in ("token", "segment"):
        header = base64.b64encode(bytes.fromhex(known[name]["bytes"])).decode()
        if header != known[name]["header"]:
            wrong.append(f"{name}: the header would be {header}, the fixture has {known[name]['header']}")
    for line in wrong:
        print(f"jobs_2018: {line}", file=sys.stderr)
    print(f"jobs_2018: {len(cases) - len(wrong)} of {len(cases)} messages are as Python makes them")
    return 1 if wrong else 0


def ask(target, certificate, job, block, signature):
    """Calls GetTranscoder."""
    import grpc  # pylint: disable=import-outside-toplevel

    net = classes()
    credentials = grpc.ssl_channel_credentials(Path(certificate).read_bytes())
    with grpc.secure_channel(target, credentials) as channel:
        call = channel.unary_unary(
            METHOD,
            request_serializer=net["TranscoderRequest"].SerializeToString,
            response_deserializer=net["TranscoderInfo"].FromString,
        )
        request = net["TranscoderRequest"](jobId=int(job), currentBlock=int(block), sig=bytes.fromhex(signature))
        try:
            info = call(request, timeout=10)
        except grpc.RpcError as error:
            print(json.dumps({"code": error.code().name, "text": error.details()}))
            return 0
    token = net["AuthToken"].FromString(base64.b64decode(info.credentials, validate=True))
    answer = {
        "transcoder": info.transcoder,
        "auth_type": info.authType,
        "credentials": info.credentials,
        "job": token.jobId,
        "stream_ids": dict(info.streamIds),
    }
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(check())
    if len(sys.argv) == 7 and sys.argv[1] == "ask":
        sys.exit(ask(*sys.argv[2:]))
    print(__doc__, file=sys.stderr)
    sys.exit(2)

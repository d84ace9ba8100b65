"""The messages of package `net`, written down from the tables of the interop specification, without the node's .proto files."""
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# One message per paragraph: number, name, type. Enumerations travel as int32.
NET = """
PingPong
1 value bytes

OrchestratorRequest
1 address bytes
2 sig bytes
3 capabilities Capabilities
4 ignoreCapacityCheck bool

EndTranscodingSessionRequest
1 auth_token AuthToken

EndTranscodingSessionResponse

OSInfo
1 storageType int32
16 s3info S3OSInfo

S3OSInfo
1 host string
2 key string
3 policy string
4 signature string
5 credential string
6 xAmzDate string

PriceInfo
1 pricePerUnit int64
2 pixelsPerUnit int64
3 capability uint32
4 constraint string

Capabilities
1 bitstring repeated uint64
2 mandatories repeated uint64
3 capacities map uint32 uint32
4 version string
5 constraints Constraints

Constraints
1 minVersion string
2 PerCapability map uint32 CapabilityConstraints

CapabilityConstraints
1 models map string ModelConstraint

ModelConstraint
1 warm bool
2 capacity uint32
3 runnerVersion string
4 capacityInUse uint32

OrchestratorInfo
1 transcoder string
2 ticket_params TicketParams
3 price_info PriceInfo
4 address bytes
5 capabilities Capabilities
6 auth_token AuthToken
7 hardware repeated HardwareInformation
32 storage repeated OSInfo
33 capabilities_prices repeated PriceInfo
34 nodes repeated string

AuthToken
1 token bytes
2 session_id string
3 expiration int64

SegData
1 manifestId bytes
2 seq int64
3 hash bytes
4 profiles bytes
5 sig bytes
6 duration int32
7 capabilities Capabilities
8 auth_token AuthToken
10 calc_perceptual_hash bool
32 storage repeated OSInfo
33 fullProfiles repeated VideoProfile
34 fullProfiles2 repeated VideoProfile
35 fullProfiles3 repeated VideoProfile
37 segment_parameters SegParameters
38 ForceSessionReinit bool

SegParameters
1 from uint64
2 to uint64

VideoProfile
16 name string
17 width int32
18 height int32
19 bitrate int32
20 fps uint32
21 format int32
22 fpsDen uint32
23 profile int32
24 gop int32
25 encoder int32
26 colorDepth int32
27 chromaFormat int32
28 quality uint32

TranscodedSegmentData
1 url string
2 pixels int64
3 perceptual_hash_url string

TranscodeData
1 segments repeated TranscodedSegmentData
2 sig bytes

TranscodeResult
1 seq int64
2 error string oneof
3 data TranscodeData oneof
16 info OrchestratorInfo
1000 refusal Refusal

PaymentResult
16 info OrchestratorInfo

RegisterRequest
1 secret string
2 capacity int64
3 capabilities Capabilities

NotifySegment
1 url string
3 segData SegData
16 taskId int64
17 profiles bytes
18 orchId string

GPUComputeInfo
1 id string
2 name string
4 major uint32
5 minor uint32
6 memory_free int64
7 memory_total int64

HardwareInformation
1 pipeline string
2 model_id string
3 gpu_info map string GPUComputeInfo

TicketParams
1 recipient bytes
2 face_value bytes
3 win_prob bytes
4 recipient_rand_hash bytes
5 seed bytes
6 expiration_block bytes
7 expiration_params TicketExpirationParams

TicketSenderParams
1 sender_nonce uint32
2 sig bytes

TicketExpirationParams
1 creation_round int64
2 creation_round_block_hash bytes

Payment
1 ticket_params TicketParams
2 sender bytes
3 expiration_params TicketExpirationParams
4 ticket_sender_params repeated TicketSenderParams
5 expected_price PriceInfo

Ticket
1 ticket_params TicketParams
2 sender bytes
3 expiration_params TicketExpirationParams
4 sender_params TicketSenderParams
5 recipient_rand bytes

QueueTicketRes

MaxFloatReq
1 sender bytes

MaxFloatUpdate
1 max_float bytes

Refusal
1 code string
2 got string
3 limit string
4 setting string
5 advice string
"""

FIELD = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "bytes": FIELD.TYPE_BYTES,
    "string": FIELD.TYPE_STRING,
    "bool": FIELD.TYPE_BOOL,
    "int32": FIELD.TYPE_INT32,
    "int64": FIELD.TYPE_INT64,
    "uint32": FIELD.TYPE_UINT32,
    "uint64": FIELD.TYPE_UINT64,
}


def _set_type(field, kind):
    if kind in SCALARS:
        field.type = SCALARS[kind]
    else:
        field.type, field.type_name = FIELD.TYPE_MESSAGE, f".net.{kind}"


def _add_map(message, field, key, value):
    entry = message.nested_type.add(name="".join(part[:1].upper() + part[1:] for part in field.name.split("_")) + "Entry")
    entry.options.map_entry = True
    for number, (name, kind) in enumerate((("key", key), ("value", value)), 1):
        _set_type(entry.field.add(name=name, number=number, label=FIELD.LABEL_OPTIONAL), kind)
    field.label, field.type = FIELD.LABEL_REPEATED, FIELD.TYPE_MESSAGE
    field.type_name = f".net.{message.name}.{entry.name}"


def _read():
    file = descriptor_pb2.FileDescriptorProto(name="net", package="net", syntax="proto3")
    for paragraph in NET.strip().split("\n\n"):
        name, *rows = paragraph.split("\n")
        message = file.message_type.add(name=name)
        for row in rows:
            number, field_name, *kinds = row.split()
            field = message.field.add(name=field_name, number=int(number), label=FIELD.LABEL_OPTIONAL)
            if kinds[0] == "repeated":
                field.label = FIELD.LABEL_REPEATED
                _set_type(field, kinds[1])
            elif kinds[0] == "map":
                _add_map(message, field, *kinds[1:])
            else:
                _set_type(field, kinds[0])
            if kinds[-1] == "oneof":
                if not message.oneof_decl:
                    message.oneof_decl.add(name="result")
                field.oneof_index = 0
    return file


POOL = descriptor_pool.DescriptorPool()
POOL.Add(_read())
_FACTORY = message_factory.MessageFactory(POOL)


def message(name):
    """The class of a message of package `net`."""
    return _FACTORY.GetPrototype(POOL.FindMessageTypeByName(f"net.{name}"))


NAMES = [paragraph.split("\n")[0] for paragraph in NET.strip().split("\n\n")]

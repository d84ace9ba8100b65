"""Keccak-256, secp256k1 and HMAC-SHA256 nonces (RFC 6979) in plain Python: slow, and independent of the node's libraries."""
import hashlib
import hmac

MASK = (1 << 64) - 1
ROTATIONS = [
    [0, 36, 3, 41, 18],
    [1, 44, 10, 45, 2],
    [62, 6, 43, 15, 61],
    [28, 55, 25, 21, 56],
    [27, 20, 39, 8, 14],
]


def _round_constants():
    constants, state = [], 1
    for _ in range(24):
        constant = 0
        for power in range(7):
            if state & 1:
                constant |= 1 << ((1 << power) - 1)
            state <<= 1
            if state & 0x100:
                state ^= 0x171
        constants.append(constant)
    return constants


ROUND_CONSTANTS = _round_constants()


def _rotate(word, by):
    return ((word << by) | (word >> (64 - by))) & MASK if by else word


def _permute(a):
    for constant in ROUND_CONSTANTS:
        c = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
        d = [c[(x - 1) % 5] ^ _rotate(c[(x + 1) % 5], 1) for x in range(5)]
        a = [[a[x][y] ^ d[x] for y in range(5)] for x in range(5)]
        b = [[0] * 5 for _ in range(5)]
        for x in range(5):
            for y in range(5):
                b[y][(2 * x + 3 * y) % 5] = _rotate(a[x][y], ROTATIONS[x][y])
        a = [[b[x][y] ^ (~b[(x + 1) % 5][y] & MASK & b[(x + 2) % 5][y]) for y in range(5)] for x in range(5)]
        a[0][0] ^= constant
    return a


def keccak(data):
    rate = 136
    padded = bytearray(data) + b"\x01"
    padded += bytes(-len(padded) % rate)
    padded[-1] |= 0x80
    state = [[0] * 5 for _ in range(5)]
    for start in range(0, len(padded), rate):
        for lane in range(rate // 8):
            word = int.from_bytes(padded[start + 8 * lane : start + 8 * lane + 8], "little")
            state[lane % 5][lane // 5] ^= word
        state = _permute(state)
    return b"".join(state[lane % 5][lane // 5].to_bytes(8, "little") for lane in range(4))


P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def _add(p, q):
    if p is None:
        return q
    if q is None:
        return p
    if p[0] == q[0] and (p[1] + q[1]) % P == 0:
        return None
    slope = (3 * p[0] * p[0] * pow(2 * p[1], -1, P) if p == q else (q[1] - p[1]) * pow(q[0] - p[0], -1, P)) % P
    x = (slope * slope - p[0] - q[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P


def _times(scalar, point):
    result = None
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _address_of(point):
    return keccak(point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big"))[12:]


def address(key):
    return _address_of(_times(key, G))


def checksum(account):
    text = account.hex()
    digest = keccak(text.encode()).hex()
    return "0x" + "".join(c.upper() if int(d, 16) >= 8 else c for c, d in zip(text, digest))


def personal_digest(message):
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message)


def _nonces(key, digest):
    secret = key.to_bytes(32, "big") + (int.from_bytes(digest, "big") % N).to_bytes(32, "big")
    k, v = bytes(32), b"\x01" * 32
    for tag in (b"\x00", b"\x01"):
        k = hmac.new(k, v + tag + secret, hashlib.sha256).digest()
        v = hmac.new(k, v, hashlib.sha256).digest()
    while True:
        v = hmac.new(k, v, hashlib.sha256).digest()
        nonce = int.from_bytes(v, "big")
        if 0 < nonce < N:
            yield nonce
        k = hmac.new(k, v + b"\x00", hashlib.sha256).digest()
        v = hmac.new(k, v, hashlib.sha256).digest()


def sign_digest(key, digest):
    z = int.from_bytes(digest, "big")
    for nonce in _nonces(key, digest):
        point = _times(nonce, G)
        r = point[0] % N
        s = pow(nonce, -1, N) * (z + r * key) % N
        if r and s:
            break
    odd = point[1] & 1
    if s > N // 2:
        s, odd = N - s, odd ^ 1
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + odd])


def sign(key, message):
    """The signature E(message) of node.md 2.2."""
    return sign_digest(key, personal_digest(message))


def recover(message, signature):
    """Who signed E(message); raises ValueError with the text that peers know."""
    if len(signature) != 65:
        raise ValueError("invalid signature length")
    r, s, v = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64]
    if v not in (27, 28):
        raise ValueError("signature v value must be 27 or 28")
    if s > N // 2:
        raise ValueError("signature s value too high")
    y = pow(pow(r, 3, P) + 7, (P + 1) // 4, P)
    if (y * y - pow(r, 3, P) - 7) % P:
        raise ValueError("not a signature")
    point = (r, y if y & 1 == v - 27 else P - y)
    z = int.from_bytes(personal_digest(message), "big")
    inverse = pow(r, -1, N)
    return _address_of(_add(_times(s * inverse % N, point), _times(-z * inverse % N, G)))

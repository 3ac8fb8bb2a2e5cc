#!/usr/bin/env python3
"""Makes rft1.json: a second implementation of rft/1's cryptography, written from docs/protocol.md and the CPace draft.

It shares no code with the program: ristretto255 is done here with Python's integers (RFC 9496), HKDF with hmac and
hashlib; only AES-GCM and Argon2id come from the `cryptography` package (OpenSSL). Before it writes anything it checks
its CPace against the draft's vectors in cpace_draft21.json.

    python3 tests/vectors/make_rft1.py > tests/vectors/rft1.json
"""

import hashlib
import hmac as hmac_module
import json
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

# --- ristretto255, RFC 9496 -------------------------------------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def negative(x):
    return x % P & 1


def absolute(x):
    return -x % P if negative(x) else x % P


def sqrt_ratio(u, v):
    r = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    check = v * r * r % P
    square = check == u % P
    if check in (-u % P, -u * SQRT_M1 % P):
        r = r * SQRT_M1 % P
        square = square or check == -u % P
    return square, absolute(r)


_, INVSQRT_A_MINUS_D = sqrt_ratio(1, (-1 - D) % P)
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
ONE_MINUS_D_SQ = (1 - D * D) % P
D_MINUS_ONE_SQ = (D - 1) ** 2 % P
assert SQRT_AD_MINUS_ONE**2 % P == (-D - 1) % P
IDENTITY = (0, 1, 1, 0)


def add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0])
    b = (p[1] + p[0]) * (q[1] + q[0])
    c = 2 * D * p[3] * q[3]
    d = 2 * p[2] * q[2]
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    result = IDENTITY
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def decode(data):
    s = int.from_bytes(data, "little")
    assert s < P and not negative(s)
    ss = s * s % P
    u1, u2 = (1 - ss) % P, (1 + ss) % P
    v = (-(D * u1 * u1) - u2 * u2) % P
    square, inv = sqrt_ratio(1, v * u2 * u2 % P)
    den_x = inv * u2 % P
    x = absolute(2 * s * den_x)
    y = u1 * inv * den_x * v % P
    assert square and not negative(x * y) and y
    return x, y, 1, x * y % P


def encode(point):
    x0, y0, z0, t0 = point
    u1, u2 = (z0 + y0) * (z0 - y0) % P, x0 * y0 % P
    _, inv = sqrt_ratio(1, u1 * u2 * u2 % P)
    den1, den2 = inv * u1 % P, inv * u2 % P
    z_inv = den1 * den2 * t0 % P
    x, y, den = x0, y0, den2
    if negative(t0 * z_inv):
        x, y, den = y0 * SQRT_M1 % P, x0 * SQRT_M1 % P, den1 * INVSQRT_A_MINUS_D % P
    if negative(x * z_inv):
        y = -y % P
    return absolute(den * (z0 - y)).to_bytes(32, "little")


def elligator(data):
    t = (int.from_bytes(data, "little") & (2**255 - 1)) % P
    r = SQRT_M1 * t * t % P
    u = (r + 1) * ONE_MINUS_D_SQ % P
    v = (-1 - r * D) * (r + D) % P
    square, s = sqrt_ratio(u, v)
    c = P - 1
    if not square:
        s, c = -absolute(s * t) % P, r
    n = (c * (r - 1) * D_MINUS_ONE_SQ - v) % P
    w0, w1, w2, w3 = 2 * s * v % P, n * SQRT_AD_MINUS_ONE % P, (1 - s * s) % P, (1 + s * s) % P
    return w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P


# --- CPace, draft-irtf-cfrg-cpace-21 ----------------------------------------------------------------------------------


def leb128(n):
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def lv_cat(*parts):
    return b"".join(leb128(len(part)) + part for part in parts)


def generator(prs, ci, sid):
    dsi = b"CPaceRistretto255"
    zpad = bytes(max(0, 128 - 1 - len(lv_cat(prs)) - len(lv_cat(dsi))))
    digest = hashlib.sha512(lv_cat(dsi, prs, zpad, ci, sid)).digest()
    return add(elligator(digest[:32]), elligator(digest[32:]))


def cpace_isk(sid, k, ya, ada, yb, adb):
    return hashlib.sha512(lv_cat(b"CPaceRistretto255_ISK", sid, k) + lv_cat(ya, ada) + lv_cat(yb, adb)).digest()


def check_draft():
    with open(os.path.join(os.path.dirname(__file__), "cpace_draft21.json")) as file:
        v = {name: bytes.fromhex(text) for name, text in json.load(file)["run"].items()}
    g = generator(v["PRS"], v["CI"], v["sid"])
    assert encode(g) == v["g"]
    ya, yb = (int.from_bytes(v[name], "little") for name in ("ya", "yb"))
    assert encode(multiply(ya, g)) == v["Ya"] and encode(multiply(yb, g)) == v["Yb"]
    assert encode(multiply(ya, decode(v["Yb"]))) == encode(multiply(yb, decode(v["Ya"]))) == v["K"]
    assert cpace_isk(v["sid"], v["K"], v["Ya"], v["ADa"], v["Yb"], v["ADb"]) == v["ISK_IR"]


# --- rft/1 ------------------------------------------------------------------------------------------------------------


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def hmac(key, *parts):
    return hmac_module.new(key, b"".join(parts), "sha256").digest()


def expand(prk, label, context=b""):
    """HKDF-Expand as RFC 5869 writes it, 32 bytes."""
    info, okm, block, counter = label + b"\0" + context, b"", b"", 1
    while len(okm) < 32:
        block = hmac(prk, block, info, bytes([counter]))
        okm += block
        counter += 1
    return okm[:32]


def record(s, role, stream, kind, index, plaintext):
    sx = expand(s, b"rft/1 stream", role + stream.to_bytes(8, "big"))
    epoch = (index >> 18).to_bytes(8, "big")
    kaes, kmac = expand(sx, b"rft/1 chunk aes", epoch), expand(sx, b"rft/1 chunk mac", epoch)
    header = bytes([kind, 0, 0, 0]) + len(plaintext).to_bytes(4, "big") + index.to_bytes(8, "big")
    nonce = bytes([kind, 0, 0, 0]) + index.to_bytes(8, "big")
    sealed = AESGCM(kaes).encrypt(nonce, plaintext, header)
    context = (b"rft/1 " + role + stream.to_bytes(8, "big")).ljust(64, b"\0")
    return {
        "role": role.decode(), "stream": stream, "kind": kind, "index": index, "plaintext": plaintext.hex(),
        "sx": sx.hex(), "kaes": kaes.hex(), "kmac": kmac.hex(),
        "record": (header + sealed + hmac(kmac, context, header, sealed[-16:])).hex(),
    }


def repair(s, role, rest):
    key = expand(s, b"rft/1 repair", role)
    return {"role": role.decode(), "key": key.hex(), "rest": rest.hex(), "tag": hmac(key, rest)[:8].hex()}


def stream_of(name, n):
    return hashlib.shake_256(b"rft/1 test vector " + name).digest(n)


def main():
    check_draft()
    password = "corr\u00e8ct h\u00f6rse"
    prs = Argon2id(
        salt=sha256(b"rft/1 argon2id salt")[:16], length=32, iterations=3, lanes=4, memory_cost=65536
    ).derive(password.encode())

    exporter = stream_of(b"exporter", 96)
    sid, cb, mix = exporter[:32], exporter[32:64], exporter[64:]
    initiator, responder = stream_of(b"initiator", 16), stream_of(b"responder", 16)
    # The output of the random generators, in the order of the program's calls: 16 random bytes, 64
    # for the scalar, and 64 for the responder's keys.
    initiator_rng, responder_rng = stream_of(b"initiator rng", 80), stream_of(b"responder rng", 144)

    ada = b"RFT1I\x01\0\0" + initiator + initiator_rng[:16]
    adb = b"RFT1R\x01\0\0" + responder + responder_rng[:16]
    ya, yb = (int.from_bytes(rng[16:80], "little") % L for rng in (initiator_rng, responder_rng))
    ci = b"rft/1 CI" + cb
    g = generator(prs, ci, sid)
    share_a, share_b = encode(multiply(ya, g)), encode(multiply(yb, g))
    isk = cpace_isk(sid, encode(multiply(ya, decode(share_b))), share_a, ada, share_b, adb)
    m1, m2 = ada + share_a, adb + share_b

    th = sha256(b"rft/1 transcript", (72).to_bytes(4, "big"), m1, (72).to_bytes(4, "big"), m2, cb)
    prk = hmac(th, isk, mix)
    kcg, kch = expand(prk, b"rft/1 confirm initiator"), expand(prk, b"rft/1 confirm responder")
    kw = expand(prk, b"rft/1 wrap key")
    ta = hmac(kcg, th)
    session_key = responder_rng[80:]
    wrap = AESGCM(kw).encrypt(bytes(12), session_key, b"rft/1 wrap" + th + ta)
    m4 = hmac(kch, th, ta, wrap) + wrap
    salt = expand(prk, b"rft/1 session salt", sha256(m4))
    s = hmac(salt, session_key)

    values = {
        "exporter": exporter, "initiator_id": initiator, "responder_id": responder, "initiator_rng": initiator_rng, "responder_rng": responder_rng,
        "prs": prs, "ci": ci, "generator": encode(g), "isk": isk, "m1": m1, "m2": m2, "th": th, "prk": prk,
        "kcg": kcg, "kch": kch, "kw": kw, "m3": ta, "m4": m4, "session_salt": salt, "s": s,
        "sas": expand(s, b"rft/1 sas")[:4], "session_id": expand(s, b"rft/1 session id")[:16],
    }
    records = [
        record(s, b"I", 0, 0x20, 0, b""),
        record(s, b"R", 0, 0x20, 0, b"settings"),
        record(s, b"I", 4, 0x00, 0, b"offer"),
        record(s, b"I", 4, 0x01, 1, stream_of(b"plaintext", 100)),
        record(s, b"I", 4, 0x02, 2, b"the end"),
        record(s, b"R", 4, 0x11, 1, b"receipt"),
        record(s, b"I", 2**62 - 4, 0x01, 2**18 - 1, b"last of epoch 0"),
        record(s, b"I", 2**62 - 4, 0x01, 2**18, b"first of epoch 1"),
        record(s, b"R", 8, 0x01, 2**40 + 7, b"far away"),
    ]
    repairs = [repair(s, b"I", b"\x01" + stream_of(b"repair", 40)), repair(s, b"R", b"")]
    values = {n: v.hex() for n, v in values.items()}
    print(json.dumps({"password": password, **values, "records": records, "repairs": repairs}, indent=1))


main()

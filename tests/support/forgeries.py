"""Forged access tokens: what attackers make of a genuine one and its public key (RFC 8725, CVEs of JWT libraries)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from jwt.algorithms import ECAlgorithm

from services.shared.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

WEAK_SECRETS = ("", "secret", "azora", "your-secret-key", "your-super-secret-jwt-key-change-in-production")
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def encoded(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def part(value: object) -> str:
    """Return a header or claims as a part of a token."""
    return encoded(json.dumps(value).encode())


def by_secret(header: Mapping[str, Any], claims: Mapping[str, Any], secret: bytes) -> str:
    """Return a token signed with HMAC, by any secret whatever."""
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), HASHES[header['alg']]))}"


class Forger:
    """Has the genuine key pair, to make tokens that lack one thing alone, and keys of its own."""

    def __init__(self, pem: bytes, key_id: str, claims: Mapping[str, Any]) -> None:
        """Forge tokens like the genuine one of these claims."""
        self._pem, self._key_id, self._claims = pem, key_id, dict(claims)
        self._header = {"alg": "ES256", "typ": "at+jwt", "kid": key_id}
        self._own = ec.generate_private_key(ec.SECP256R1())

    def genuine(self, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """Return a token of the genuine key; changes replace claims, and remove those that are None."""
        claims = {name: value for name, value in (self._claims | changes).items() if value is not None}
        added = self._header | dict(header or {})
        signed = f"{part({name: value for name, value in added.items() if value is not None})}.{part(claims)}"
        return f"{signed}.{encoded(self._signature(signed, self._pem))}"

    def tokens(self) -> dict[str, str]:
        """Return forged tokens by what is wrong with them."""
        return {
            **self._unsigned(),
            **self._confused(),
            **self._keys_in_headers(),
            **self._key_ids(),
            **self._headers(),
            **self._wrong_claims(),
            **self._wrong_signatures(),
            **self._malformed(),
        }

    def headers(self) -> dict[str, list[str]]:
        """Return authorization headers by what is wrong with them, the tokens' own included."""
        good, forged = f"Bearer {self.genuine()}", f"Bearer {self.tokens()['own key']}"
        return {name: [f"Bearer {token}"] for name, token in self.tokens().items()} | {
            "two headers, both good": [good, good],
            "two headers, the second forged": [good, forged],
            "two headers, the first forged": [forged, good],
            "two tokens in a header": [f"{good}, {good}"],
            "two spaces": [good.replace(" ", "  ")],
        }

    def other_schemes(self) -> dict[str, list[str]]:
        """Return authorization headers that hold no bearer token, by what they hold."""
        good = f"Bearer {self.genuine()}"
        return {
            "another scheme": [good.replace("Bearer", "Basic")],
            "a scheme alone": ["Bearer"],
            "no scheme": [self.genuine()],
        }

    def _unsigned(self) -> dict[str, str]:
        found = {}
        for algorithm in ("none", "None", "NONE", "nOnE", "", None):
            signed = f"{part(self._header | {'alg': algorithm})}.{part(self._claims)}"
            found[f"alg {algorithm!r}, no signature"] = f"{signed}."
            found[f"alg {algorithm!r}, another's signature"] = f"{signed}.{self.genuine().rpartition('.')[2]}"
        return found

    def _confused(self) -> dict[str, str]:
        """Return tokens whose secret is public, or easily guessed."""
        public = load_pem_private_key(self._pem, None).public_key()
        forms = {
            "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "PEM without its last line break": public.public_bytes(
                Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
            ).strip(),
            "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            "point": public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
            "JWK": ECAlgorithm.to_jwk(public).encode(),  # type: ignore[arg-type]
        }
        secrets = {f"public key as {form}": secret for form, secret in forms.items()}
        secrets |= {f"secret {secret!r}": secret.encode() for secret in WEAK_SECRETS}
        rsa_key, ed_key = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
        others: dict[str, Any] = {"RS256": rsa_key, "PS256": rsa_key, "EdDSA": ed_key}
        headers = {"kid": self._key_id, "typ": "at+jwt"}
        return {
            f"{algorithm}, {name}": by_secret(self._header | {"alg": algorithm}, self._claims, secret)
            for name, secret in secrets.items()
            for algorithm in HASHES
        } | {
            f"{algorithm} under the kid": jwt.encode(self._claims, key, algorithm=algorithm, headers=headers)
            for algorithm, key in others.items()
        }

    def _keys_in_headers(self) -> dict[str, str]:
        """Return tokens of a key of the forger's, which their headers bring along."""
        jwk = ECAlgorithm.to_jwk(self._own.public_key(), as_dict=True)
        brought = {
            "jwk": jwk | {"kid": self._key_id},
            "jku": "http://localhost:1/jwks.json",
            "x5u": "http://localhost:1/certificate.pem",
            "x5c": [base64.b64encode(b"certificate").decode()],
        }
        return {
            f"{name}, {whose} kid": self._by_own(self._header | {name: value, "kid": key_id})
            for name, value in brought.items()
            for whose, key_id in (("genuine", self._key_id), ("own", "own"))
        }

    def _key_ids(self) -> dict[str, str]:
        tricks: dict[str, object] = {
            "unknown": new_id(),
            "path": "../../../../dev/null",
            "SQL": "' UNION SELECT 'secret' --",
            "command": "| sleep 10",
            "URL": "http://localhost:1/key",
            "NUL": f"{self._key_id}\0",
            "space": f" {self._key_id}",
            "case": self._key_id.upper(),
            "long": "k" * 2000,
            "empty": "",
            "number": 1,
            "list": [self._key_id],
            "object": {"kid": self._key_id},
            "null": None,
        }
        found = {}
        for name, key_id in tricks.items():
            header = self._header | {"kid": key_id}
            if key_id != self._key_id:
                found[f"kid: {name}, genuine key"] = self.genuine({"kid": key_id} if key_id is not None else {"kid": 0})
            found[f"kid: {name}, own key"] = self._by_own(header)
            found[f"kid: {name}, empty secret"] = by_secret(header | {"alg": "HS256"}, self._claims, b"")
        return found | {"no kid": self.genuine({"kid": None})}

    def _headers(self) -> dict[str, str]:
        return {
            "crit: unknown": self.genuine({"crit": ["x"], "x": 1}),
            "crit: exp": self.genuine({"crit": ["exp"], "exp": 1}),
            "crit: b64": self.genuine({"crit": ["b64"], "b64": False}),
            "crit: empty": self.genuine({"crit": []}),
            "crit: no list": self.genuine({"crit": "x"}),
            "typ: JWT": self.genuine({"typ": "JWT"}),
            "typ: none": self.genuine({"typ": None}),
            "typ: refresh": self.genuine({"typ": "rt+jwt"}),
            "typ: identity": self.genuine({"typ": "id+jwt"}),
            "typ: list": self.genuine({"typ": ["at+jwt"]}),
        }

    def _wrong_claims(self) -> dict[str, str]:
        now = int(time.time())
        changes: dict[str, dict[str, Any]] = {
            "aud: another": {"aud": "another"},
            "aud: none": {"aud": None},
            "aud: empty list": {"aud": []},
            "aud: case": {"aud": str(self._claims["aud"]).upper()},
            "iss: another": {"iss": "https://attacker.example.com"},
            "iss: none": {"iss": None},
            "iss: slash": {"iss": f"{self._claims['iss']}/"},
            "iss: prefix": {"iss": f"{self._claims['iss']}.attacker.example.com"},
            "iss: list": {"iss": [self._claims["iss"]]},
            "nbf: beyond the leeway": {"nbf": now + 60},
            "iat: beyond the leeway": {"iat": now + 60},
            "iat: none": {"iat": None},
            "exp: none": {"exp": None},
            "exp: text": {"exp": str(now + 60)},
            "exp: too far": {"exp": now + 10 * 365 * 86_400},
            "sub: none": {"sub": None},
            "sub: empty": {"sub": ""},
            "sub: number": {"sub": 1},
            "sid: none": {"sid": None},
            "jti: none": {"jti": None},
            "roles: none": {"roles": None},
            "roles: text": {"roles": "ROLE_ADMIN"},
            "epoch: text": {"epoch": "0"},
        }
        return {name: self.genuine(**changed) for name, changed in changes.items()}

    def _wrong_signatures(self) -> dict[str, str]:
        genuine = self.genuine()
        header, _, signature = genuine.split(".")
        raised = part(self._claims | {"roles": ["ROLE_ADMIN"]})
        raw = base64.urlsafe_b64decode(f"{signature}==")
        half = len(raw) // 2
        der = encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
        signed = genuine.rpartition(".")[0]
        return {
            "own key": self._by_own(self._header),
            "raised role": f"{header}.{raised}.{signature}",
            "another's header": f"{part(self._header | {'x': 1})}.{part(self._claims)}.{signature}",
            "zeros (CVE-2022-21449)": f"{signed}.{encoded(bytes(64))}",
            "DER": f"{signed}.{encoded(der)}",
            "truncated": genuine[:-4],
            "lengthened": f"{genuine}AAAA",
            "none": f"{signed}.",
        }

    def _malformed(self) -> dict[str, str]:
        genuine = self.genuine()
        header, claims, signature = genuine.split(".")
        return {
            "opaque, like a refresh token": encoded(bytes(range(32))),
            "two parts": f"{header}.{claims}",
            "five parts, like a JWE": f"{genuine}.{header}.{claims}",
            "four parts": f"{genuine}.{signature}",
            "nested": f"{part({'alg': 'none', 'cty': 'JWT'})}.{encoded(genuine.encode())}.",
            "JSON": json.dumps({"protected": header, "payload": claims, "signature": signature}),
            "padded": f"{genuine}==",
            "foreign characters": f"{header}.{claims[:8]}!{claims[8:]}.{signature}",
            "no JSON": f"{encoded(b'{')}.{claims}.{signature}",
            "a list for a header": f"{part([self._header])}.{claims}.{signature}",
            "claims that are no object": f"{header}.{part([1])}.{signature}",
            "deep": f"{encoded(b'[' * 900)}.{claims}.{signature}",
            "long": f"{header}.{'A' * 5000}.{signature}",
        }

    def _by_own(self, header: Mapping[str, Any]) -> str:
        signed = f"{part(header)}.{part(self._claims)}"
        return f"{signed}.{encoded(ECAlgorithm(ECAlgorithm.SHA256).sign(signed.encode(), self._own))}"

    @staticmethod
    def _signature(signed: str, pem: bytes) -> bytes:
        key: Any = load_pem_private_key(pem, None)
        return ECAlgorithm(ECAlgorithm.SHA256).sign(signed.encode(), key)

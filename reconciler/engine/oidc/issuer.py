"""The engine as an issuer: its documents, its tokens, and the change of its keys.

The key ring is one sealed fact of the store, made when it is first needed, so that every
process of an engine signs and shows the same, and a change is seen at once.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

from joserfc import jwk, jwt

from reconciler.clock import Clock
from reconciler.engine.oidc import claims, keys
from reconciler.engine.oidc.claims import Deployed
from reconciler.engine.oidc.keys import KeyRing, SigningKey
from reconciler.engine.secrets_box import SecretBox
from reconciler.engine.store.facts import Facts
from reconciler.errors import ReconcilerError
from reconciler.jsonform import from_json, to_json

__all__ = ["CONFIGURATION_PATH", "ISSUER_PATH", "JWKS_PATH", "RING", "Issuer", "make_key"]

# The name of the fact, and the context that it is sealed with.
RING = "oidc keys"

# Below the issuer's own URL, as at Pulumi Cloud.
ISSUER_PATH = "/oidc"
CONFIGURATION_PATH = "/.well-known/openid-configuration"
JWKS_PATH = "/.well-known/jwks"

KEY_BITS = 2048  # what RS256 asks for at least, and every cloud takes

# Two people who change keys at the same moment: the second tries again on what the first left.
MOST_TRIES = 10


class Issuer:
    """One engine's issuer. Any thread, and any process of the engine, may call any method."""

    def __init__(self, facts: Facts, box: SecretBox, clock: Clock, public_url: str) -> None:
        self._facts = facts
        self._box = box
        self._clock = clock
        self.url = public_url + ISSUER_PATH

    def configuration(self) -> dict[str, object]:
        """Return the discovery document."""
        return {
            "issuer": self.url,
            "jwks_uri": self.url + JWKS_PATH,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid"],
            "claims_supported": [
                *("iss", "aud", "sub", "iat", "nbf", "exp", "jti"),
                *("org", "project", "stack", "stackId", "operation", "deployment", "scope"),
                "deploymentId",
            ],
        }

    def key_set(self) -> dict[str, object]:
        """Return the public keys, as a JWK Set."""
        ring, _ = self._read()
        return {"keys": [_shown(key) for key in keys.published(ring, self._clock.now())]}

    def token(self, deployed: Deployed, lives: timedelta) -> str:
        """Sign a token for one deployment."""
        now = self._clock.now()
        key = keys.signing(self._read()[0], now)
        if key is None:
            raise ReconcilerError("there is no key to sign with: `reconciler engine keys rotate`")
        said = claims.claims(self.url, deployed, now, lives, str(uuid.uuid4()))
        header = {"alg": "RS256", "typ": "JWT", "kid": key.id}
        return jwt.encode(header, said, jwk.RSAKey.import_key(key.private))

    def rotate(self) -> SigningKey:
        """Add a key; it signs once relying parties have had the time to see it."""
        new = make_key(self._clock.now() + keys.PUBLISHED_AHEAD)
        self._change(lambda ring, now: keys.rotated(ring, new, now))
        return new

    def withdraw(self, key_id: str) -> bool:
        """Take a key away at once, with a new one in its place; False where there is none such."""
        known = any(key.id == key_id for key in self._read()[0].keys)
        if known:
            self._change(lambda ring, now: _without(ring, key_id, now))
        return known

    def states(self) -> tuple[tuple[SigningKey, str], ...]:
        """Return the keys that are shown, the newest first, and what each is good for."""
        ring, now = self._read()[0], self._clock.now()
        signs = keys.signing(ring, now)
        return tuple(
            (key, "signs" if key == signs else "next" if key.signs_from > now else "before")
            for key in reversed(keys.published(ring, now))
        )

    # ------------------------------------------------------------ inside

    def _read(self) -> tuple[KeyRing, bytes]:
        sealed = self._facts.get(RING)
        if sealed is None:
            # Outside of the store's transaction, since a key takes a while to make.
            first = self._seal(KeyRing(keys=(make_key(self._clock.now()),)))
            sealed = self._facts.get_or_make(RING, lambda: first)
        opened = json.loads(self._box.decrypt(sealed, RING))
        return from_json(KeyRing, opened), sealed

    def _change(self, change: Callable[[KeyRing, datetime], KeyRing]) -> None:
        for _ in range(MOST_TRIES):
            ring, sealed = self._read()
            changed = self._seal(change(ring, self._clock.now()))
            if self._facts.replace(RING, sealed, changed):
                return
        raise ReconcilerError("the keys are being changed by others; try again")

    def _seal(self, ring: KeyRing) -> bytes:
        return self._box.encrypt(json.dumps(to_json(ring)).encode(), RING)


def make_key(signs_from: datetime) -> SigningKey:
    """Make a key; its id is from the thumbprint of its public part (RFC 7638).

    In hexadecimal, since base64 may begin with a dash, and people give the id to a command.
    """
    made = jwk.RSAKey.generate_key(KEY_BITS, private=True)
    public = made.as_dict(private=False)
    return SigningKey(
        id=base64.urlsafe_b64decode(f"{made.thumbprint()}=").hex()[:32],
        private=made.as_pem(private=True).decode(),
        modulus=str(public["n"]),
        exponent=str(public["e"]),
        signs_from=signs_from,
    )


def _without(ring: KeyRing, key_id: str, now: datetime) -> KeyRing:
    left, signs = keys.withdrawn(ring, key_id), keys.signing(ring, now)
    if signs is not None and signs.id != key_id:
        return left
    # Not the one before it: that was given up already.
    before = tuple(key for key in left.keys if key.signs_from <= now)
    return KeyRing(keys=(*before, make_key(now), *left.keys[len(before) :]))


def _shown(key: SigningKey) -> dict[str, object]:
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": key.id,
        "n": key.modulus,
        "e": key.exponent,
    }

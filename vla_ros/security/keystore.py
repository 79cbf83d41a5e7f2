"""A keystore as ROS 2 reads it (sros2's layout), made whole or not at all, by the `openssl` program.

    DIR/private   the authority's key: take it off the robot, it is needed only to make enclaves
    DIR/public    its certificate
    DIR/enclaves  governance for all, and for each identity its key, certificate and signed permissions

Keys are ECDSA on prime256v1, documents S/MIME signed (OMG DDS Security 1.1, 9.3.1.1 and 9.4.1). Nothing that is there
is ever written over.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vla_ros.core.errors import ConfigError, VlaError
from vla_ros.security.permissions import Enclave, governance, permissions

DAYS = 3650
"""How long certificates and permissions hold, as sros2's own [d]."""
REQUEST = """[req]
prompt = no
distinguished_name = name
[name]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE, pathlen:1
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
[member]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
"""


def make_keystore(folder: Path, enclaves: list[Enclave]) -> None:
    """Make the keystore in `folder`, which is not there yet; if anything fails, nothing is left.

    Raises:
        VlaError: The folder exists, cannot be made, or `openssl` is missing or fails.
    """
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder} is there already, and keys are never written over; name another folder.")
    if shutil.which("openssl") is None:
        raise VlaError("the program openssl is needed and was not found; install the package openssl.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _private(folder) as part:
            _fill(part, enclaves)
            part.rename(folder)
    except OSError as error:
        raise VlaError(f"cannot make {folder}: {error.strerror}.") from None


@contextlib.contextmanager
def _private(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, for this user alone; whatever is made meanwhile is, too."""
    before = os.umask(0o077)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield part
    finally:
        os.umask(before)
        shutil.rmtree(part, ignore_errors=True)


def _fill(store: Path, enclaves: list[Enclave]) -> None:
    private, public, rooms = (store / name for name in ("private", "public", "enclaves"))
    for room in (private, public, rooms):
        room.mkdir()
    _key(private / "ca.key.pem")
    _request(store, "vla_ros authority")
    openssl(
        "req", "-x509", "-new", "-sha256", "-config", store / "request", "-extensions", "authority", "-days", DAYS,
        "-key", private / "ca.key.pem", "-out", public / "ca.cert.pem",
    )  # fmt: skip
    for role in ("identity_ca", "permissions_ca"):
        (private / f"{role}.key.pem").symlink_to("ca.key.pem")
        (public / f"{role}.cert.pem").symlink_to("ca.cert.pem")
    (rooms / "governance.xml").write_text(governance(), encoding="utf-8")
    _sign(store, rooms / "governance.xml")
    for enclave in enclaves:
        _enclave(store, enclave)
    (store / "request").unlink()


def _enclave(store: Path, enclave: Enclave) -> None:
    room = store / "enclaves" / enclave.path.strip("/")
    room.mkdir(parents=True)
    _key(room / "key.pem")
    _request(store, enclave.path)
    request = room / "request.pem"
    openssl("req", "-new", "-sha256", "-config", store / "request", "-key", room / "key.pem", "-out", request)
    openssl(
        "x509", "-req", "-sha256", "-days", DAYS, "-set_serial", f"0x{secrets.token_hex(16)}", "-in", request,
        "-CA", store / "public" / "ca.cert.pem", "-CAkey", store / "private" / "ca.key.pem",
        "-extfile", store / "request", "-extensions", "member", "-out", room / "cert.pem",
    )  # fmt: skip
    request.unlink()
    now = datetime.datetime.now(datetime.timezone.utc)
    span = (now - datetime.timedelta(days=1), now + datetime.timedelta(days=DAYS))
    text = permissions(enclave, *(instant.strftime("%Y-%m-%dT%H:%M:%S") for instant in span))
    (room / "permissions.xml").write_text(text, encoding="utf-8")
    _sign(store, room / "permissions.xml")
    for target in ("public/identity_ca.cert.pem", "public/permissions_ca.cert.pem", "enclaves/governance.p7s"):
        (room / Path(target).name).symlink_to(os.path.relpath(store / target, room))


def _request(store: Path, name: str) -> None:
    (store / "request").write_text(REQUEST.format(name=name), encoding="utf-8")


def _key(file: Path) -> None:
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", file)
    file.chmod(0o600)


def _sign(store: Path, file: Path) -> None:
    openssl(
        "smime", "-sign", "-text", "-md", "sha256", "-in", file, "-out", file.with_suffix(".p7s"),
        "-signer", store / "public" / "ca.cert.pem", "-inkey", store / "private" / "ca.key.pem",
    )  # fmt: skip


def openssl(*args: object) -> str:
    """Run the program; `VlaError` with its last words if it fails, else what it printed."""
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise VlaError(f"openssl {args[0]} failed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}.")
    return done.stdout

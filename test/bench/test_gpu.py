"""The bench of the GPU says what it has, and that all ways to run a network say the same."""

import pytest
import torch

from bench import gpu


def test_it_runs_where_there_is_no_gpu_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "ON_CPU", gpu.ON_CPU[:2])  # compiling takes a minute
    monkeypatch.setattr(gpu, "ON_GPU", (("eager", "float32"), ("graph", "bf16")))
    assert gpu.main(["--quick", "--only", "trunk"]) == 0
    told = capsys.readouterr().out
    assert "trunk: one inference" in told
    assert next(line.split()[0:3] for line in told.splitlines() if "eager" in line) == ["cpu,", "eager", "float32"]
    assert ("finds no GPU on this machine" in told) == (not torch.cuda.is_available())


def test_a_way_that_says_something_else_misses_the_figure(capsys: pytest.CaptureFixture[str]) -> None:
    (plain,) = gpu.way(gpu.NETWORKS["trunk"](), gpu.CPU, "eager", "float32", ("shrunk",))
    (off,) = gpu.way(gpu.NETWORKS["trunk"](), gpu.CPU, "eager", "float32", ("shrunk",))
    gpu.measure([plain, off], 2)
    assert [met for _, met in gpu.table("x", [plain, off])] == [True]
    off.chunks = [chunk + 0.002 for chunk in off.chunks]
    ((text, met),) = gpu.table("x", [plain, off])
    assert not met
    assert text.endswith("(2)")

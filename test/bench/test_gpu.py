"""The GPU bench measures what the machine has, and compares the results of all configurations."""

import pytest
import torch

from bench import gpu


def test_without_a_gpu_it_measures_the_cpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu, "ON_CPU", gpu.ON_CPU[:2])  # compiling takes a minute
    monkeypatch.setattr(gpu, "ON_GPU", (("eager", "float32"), ("graph", "bf16")))
    assert gpu.main(["--quick", "--only", "shipped"]) == 0
    output = capsys.readouterr().out
    assert "shipped: one inference" in output
    assert next(line.split()[0:3] for line in output.splitlines() if "eager" in line) == ["cpu,", "eager", "float32"]
    assert ("finds no GPU on this machine" in output) == (not torch.cuda.is_available())


def test_a_configuration_with_other_waypoints_misses_the_claim(capsys: pytest.CaptureFixture[str]) -> None:
    (reference,) = gpu.prepare(gpu.NETWORKS["shipped"](), gpu.CPU, "eager", "float32", ("cpu",))
    (other,) = gpu.prepare(gpu.NETWORKS["shipped"](), gpu.CPU, "eager", "float32", ("cpu",))
    gpu.measure([reference, other], 2)
    assert [met for _, met in gpu.print_table("x", [reference, other])] == [True]
    other.chunks = [chunk + 0.002 for chunk in other.chunks]
    ((text, met),) = gpu.print_table("x", [reference, other])
    assert not met
    assert text.endswith("(2)")

"""Every engine gives the same output; an engine that cannot execute the network is refused."""

import copy
import shutil

import numpy as np
import pytest
import torch
from policy.small_network import JOINTS, STEPS, model, observation
from torch import Tensor

from vla_ros.core.errors import ConfigError, RecordError, UnknownName
from vla_ros.core.records import NS, Observation
from vla_ros.core.trajectory import Plan
from vla_ros.data.images import crop_and_resize
from vla_ros.policy.checkpoint_policy import CheckpointPolicy
from vla_ros.policy.inference.engine import Engine, ExecutionMode, StaticInputs, engines, find_engine
from vla_ros.policy.inference.image_input import DeviceImages, image_input, to_input
from vla_ros.policy.network.checkpoint import CheckpointInfo
from vla_ros.policy.network.model import PolicyOutput, VlaNetwork
from vla_ros.policy.real_time_chunking import CommittedPrefix

CPU = torch.device("cpu")
NO_GPU = not torch.cuda.is_available()
NEEDS_GPU = pytest.mark.skipif(NO_GPU, reason="no GPU here")
ON_GPU = ("eager", "compiled", "graph", "compiled_graph")


def infer(engine: Engine, seed: int = 0, inputs: int = 1) -> PolicyOutput:
    """The output for random inputs of this seed."""
    images, joints, instruction = observation(1, inputs)
    device = next(engine._model.parameters()).device
    return engine([x.to(device) for x in images], joints.to(device), instruction.to(device), seed)


def max_deviation(one: PolicyOutput, two: PolicyOutput) -> float:
    return float((one.waypoints - two.waypoints).abs().max())


# ---- on a CPU -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["flow", "beast_flow"])
def test_noise_is_an_input_and_a_pass_draws_no_random_numbers(head: str) -> None:
    engine, before = Engine(model(head, True), CPU), torch.get_rng_state()
    one, same, other = infer(engine, 7), infer(engine, 7), infer(engine, 8)
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(one.waypoints, same.waypoints, atol=0.0, rtol=0.0)
    assert max_deviation(one, other) > 1e-3


@pytest.mark.parametrize("head", STEPS)
def test_eager_on_a_cpu_equals_the_network_bit_for_bit(head: str) -> None:
    net = model(head, True)
    with torch.inference_mode():
        expected = net.predict(*observation(1), seed=5)
    actual = infer(Engine(net, CPU), 5)
    assert torch.equal(actual.waypoints, expected.waypoints)
    assert actual.execute == expected.execute
    np.testing.assert_array_equal(actual.deviation_rad, expected.deviation_rad)


@pytest.mark.parametrize("head", ["bins", "beast_tokens"])
def test_tokens_are_decoded_as_by_the_tokenizer(head: str) -> None:
    encoding = model(head).encoding
    tokens = torch.randint(0, 64, (5, encoding.steps, 3), generator=torch.Generator().manual_seed(0))
    assert torch.equal(encoding.from_tokens(tokens), encoding.tokenizer.restore(tokens.flatten(1)).float())


# ---- static inputs -------------------------------------------------------------------------------------------


def test_static_inputs_keep_their_address_and_layout() -> None:
    images, joints, instruction = observation(1)
    inputs = (images[0].contiguous(memory_format=torch.channels_last), joints, instruction)
    static = StaticInputs(inputs)
    before = [t.data_ptr() for t in static.tensors]
    static.fill([2.0 * t for t in inputs])
    assert [t.data_ptr() for t in static.tensors] == before
    assert static.tensors[0].is_contiguous(memory_format=torch.channels_last)
    for own, original in zip(static.tensors, inputs, strict=True):
        assert torch.equal(own, 2.0 * original)
        assert own.data_ptr() != original.data_ptr()


@pytest.mark.parametrize("other", [torch.zeros(1), torch.zeros(1, 1), torch.zeros(2, 3), torch.zeros(1, 3).double()])
def test_static_inputs_do_not_broadcast(other: Tensor) -> None:
    static = StaticInputs([torch.ones(1, 3)])
    with pytest.raises(RecordError, match=r'prepared for inputs of shape \(1, 3\).* Engine "eager" accepts any\.'):
        static.fill([other])
    assert torch.equal(static.tensors[0], torch.ones(1, 3))


# ---- precision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["regression", "flow", "beast"])
def test_bf16_changes_waypoints_by_at_most_5_mrad(head: str) -> None:
    net = model(head)
    deviations = [
        max_deviation(infer(Engine(net, CPU, precision="bf16"), n, n), infer(Engine(net, CPU), n, n)) for n in range(4)
    ]
    assert 0.0 < max(deviations) <= 5e-3


def test_bf16_is_used_in_the_image_encoders_only() -> None:
    net, dtypes = model(), {}
    for name in (
        "context_encoder.encoders",
        "context_encoder.image_tokens",
        "context_encoder.transformer",
        "transformer",
        "head.readout.arm",
    ):
        part = net.get_submodule(name)
        part = part[0] if isinstance(part, torch.nn.ModuleList) else part
        inside = next(m for m in part.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear))
        inside.register_forward_hook(lambda _m, _i, output, name=name: dtypes.__setitem__(name, output.dtype))
    infer(Engine(net, CPU, precision="bf16"))
    assert dtypes.pop("context_encoder.encoders") == torch.bfloat16
    assert set(dtypes.values()) == {torch.float32}
    assert len(dtypes) == 4


# ---- choice of the engine --------------------------------------------------------------------------------------------


def test_each_device_has_a_default_engine() -> None:
    assert find_engine("auto", "float32", CPU) == "eager"
    assert find_engine("auto", "bf16", torch.device("cuda:1")) == "graph"
    assert [find_engine(n, "bf16", torch.device("cuda")) for n in ON_GPU] == list(ON_GPU)
    assert set(engines) == set(ON_GPU)


@pytest.mark.parametrize("name", ["graph", "compiled_graph"])
def test_a_graph_needs_a_gpu(name: str) -> None:
    with pytest.raises(ConfigError, match=f'engine "{name}" needs a GPU; on device "cpu" use "eager" or "compiled"'):
        CheckpointPolicy("no such file", engine=name)


def test_unknown_names_are_refused_before_a_file_is_read() -> None:
    with pytest.raises(UnknownName, match='unknown engine "grahp"; did you mean "graph"'):
        CheckpointPolicy("no such file", engine="grahp")
    with pytest.raises(UnknownName, match=r'unknown engine "x"; known: auto, compiled, compiled_graph, eager, graph\.'):
        CheckpointPolicy("no such file", engine="x")
    with pytest.raises(UnknownName, match='unknown precision "float16"; did you mean "float32"'):
        CheckpointPolicy("no such file", precision="float16")


def test_images_are_resized_on_the_device_of_the_network() -> None:
    assert isinstance(image_input(96, torch.device("cuda")), DeviceImages)
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    (actual,) = image_input(32, CPU)([image])
    expected = to_input(torch.from_numpy(crop_and_resize(image, 32))[None])
    assert torch.equal(actual, expected), "on a CPU as in training"


def test_an_engine_of_a_registered_mode_is_compared_with_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_found", dict(engines._found))
    prepared: list[StaticInputs] = []
    engines.register("same")(ExecutionMode(lambda step, static: prepared.append(static) or step))
    net = model()
    assert max_deviation(infer(Engine(net, CPU, "same")), infer(Engine(net, CPU))) == 0.0
    assert len(prepared) == 1


# ---- compiled ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler here")
def test_a_compiled_network_gives_the_same_output() -> None:
    net = model("beast", mixed=True)
    plain, engine = Engine(net, CPU), Engine(net, CPU, "compiled")
    for inputs in (1, 2):
        assert max_deviation(infer(engine, 0, inputs), infer(plain, 0, inputs)) <= 1e-5
    images, joints, instruction = observation(2)
    with pytest.raises(RecordError, match="prepared for inputs of shape"):
        engine(images, joints, instruction)


def test_a_network_that_cannot_be_compiled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = VlaNetwork.decode
    monkeypatch.setattr(VlaNetwork, "decode", lambda self, x, *rest: decode(self, x if x.sum() > 0 else -x, *rest))
    with pytest.raises(
        ConfigError, match=r'engine "compiled" cannot execute this network \(.*\); use engine "eager"\.'
    ):
        infer(Engine(model(), CPU, "compiled"))


def test_a_compiler_with_another_result_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    net, (images, joints, instruction) = model(), observation(1)
    monkeypatch.setattr(
        torch, "compile", lambda step, **_: lambda *_inputs: step(*images, joints, instruction, net.noise(1, 0))
    )
    with pytest.raises(ConfigError, match=r'waypoints of engine "compiled" deviate by 0\.\d+ rad'):
        infer(Engine(net, CPU, "compiled"))


@pytest.mark.parametrize("real_time_chunking", [False, True])
def test_a_warm_up_prepares_the_engine(real_time_chunking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with guidance, which does not use the engine."""
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda step, **_: compiled.append(step) or step)
    net = model("flow", True)
    info = CheckpointInfo("toy", "go", net.config)
    policy = CheckpointPolicy.from_model(net, info, real_time_chunking, engine="compiled")
    assert not compiled
    policy.warm_up()
    assert len(compiled) == 1
    image = np.zeros((48, 64, 3), np.uint8)
    policy.infer(Observation(NS, {"front": image}, JOINTS, np.zeros(3), "go"))
    assert len(compiled) == 1


# ---- on a GPU ------------------------------------------------------------------------------------------------


def on_gpu(net: VlaNetwork, engine: str, precision: str = "float32") -> Engine:
    torch.compiler.reset()
    device = torch.device("cuda")
    return Engine(copy.deepcopy(net).to(device), device, engine, precision)


@NEEDS_GPU
@pytest.mark.parametrize("engine", ON_GPU)
@pytest.mark.parametrize("head", ["regression", "flow", "beast"])
def test_a_gpu_gives_the_output_of_a_cpu(head: str, engine: str) -> None:
    net = model(head, True)
    cpu, gpu = Engine(net, CPU), on_gpu(net, engine)
    firsts = [infer(gpu, n, n) for n in range(4)]
    for n, first in enumerate(firsts):
        assert first.waypoints.device == CPU
        assert max_deviation(first, infer(cpu, n, n)) <= 1e-3, "not overwritten by a later pass"
        assert torch.equal(infer(gpu, n, n).waypoints, first.waypoints), "the same stamp, the same chunk"


@NEEDS_GPU
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("head", STEPS)
def test_every_head_can_be_captured(head: str, mixed: bool) -> None:
    net = model(head, mixed)
    eager, graph = on_gpu(net, "eager"), on_gpu(net, "graph")
    for n in range(3):
        assert max_deviation(infer(graph, n, n), infer(eager, n, n)) <= 1e-3


@NEEDS_GPU
@pytest.mark.parametrize("engine", ON_GPU)
def test_bf16_on_a_gpu_changes_waypoints_by_at_most_10_mrad(engine: str) -> None:
    net = model()
    gpu = on_gpu(net, engine, "bf16")
    assert max(max_deviation(infer(gpu, n, n), infer(Engine(net, CPU), n, n)) for n in range(4)) <= 0.01


@NEEDS_GPU
def test_a_graph_accepts_only_the_captured_shapes() -> None:
    engine = on_gpu(model(), "graph")
    infer(engine)
    images, joints, instruction = observation(2)
    with pytest.raises(RecordError, match="prepared for inputs of shape"):
        engine([x.cuda() for x in images], joints.cuda(), instruction.cuda())


@NEEDS_GPU
@pytest.mark.parametrize("head", ["regression", "flow"])
def test_a_policy_gives_the_same_chunks_on_a_gpu_and_on_a_cpu(head: str) -> None:
    net = model(head, True)
    info = CheckpointInfo("toy", "go", net.config)
    cpu = CheckpointPolicy.from_model(copy.deepcopy(net), info, real_time_chunking=head == "flow")
    gpu = CheckpointPolicy.from_model(copy.deepcopy(net), info, real_time_chunking=head == "flow", device="cuda")
    gpu.warm_up()
    positions = np.array([0.1, 0.3, -0.2])
    for n in range(3):
        image = np.random.default_rng(n).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        current = Observation(NS + n, {"front": image}, JOINTS, positions, "go")
        committed = CommittedPrefix(Plan.hold(JOINTS, positions, NS), NS // 5, NS // 2) if n == 2 else None
        one, two = cpu.infer(current, committed), gpu.infer(current, committed)
        count = min(len(one.positions), len(two.positions))
        np.testing.assert_allclose(one.positions[:count], two.positions[:count], atol=0.02)


@NEEDS_GPU
def test_a_network_that_cannot_be_captured_is_refused_and_eager_works(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = VlaNetwork.decode
    net = model()
    monkeypatch.setattr(VlaNetwork, "decode", lambda self, x, *rest: decode(self, x * float(x.sum().item()), *rest))
    with pytest.raises(ConfigError, match=r'engine "graph" cannot execute this network \(.*\); use engine "eager"\.'):
        infer(on_gpu(net, "graph"))
    assert torch.isfinite(infer(on_gpu(net, "eager")).waypoints).all()

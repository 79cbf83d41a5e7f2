"""However a network is run, it says the same; what cannot run it is refused before it is asked."""

import copy
import shutil

import numpy as np
import pytest
import torch
from policy.small import JOINTS, STEPS, model, seen, trunk
from torch import Tensor

from vla_ros.core.errors import ConfigError, RecordError, UnknownName
from vla_ros.core.records import NS, Observation
from vla_ros.core.trajectory import Plan
from vla_ros.policy.checkpoint_policy import CheckpointPolicy
from vla_ros.policy.inference.device_images import DeviceImages, image_input
from vla_ros.policy.inference.engine import ENGINES, Engine, Static, find_engine
from vla_ros.policy.inference.images import shrink
from vla_ros.policy.network.build import Model
from vla_ros.policy.network.checkpoint import CheckpointInfo
from vla_ros.policy.network.config import Act, to_input
from vla_ros.policy.network.model import ActorModel
from vla_ros.policy.real_time_chunking import CommittedPrefix

CPU = torch.device("cpu")
NO_GPU = not torch.cuda.is_available()
GPU = pytest.mark.skipif(NO_GPU, reason="no GPU here")
ON_GPU = ("eager", "compiled", "graph", "compiled_graph")


def ask(engine: Engine, seed: int = 0, given: int = 1) -> Act:
    """An answer to made-up inputs."""
    images, joints, words = seen(1, given)
    device = next(engine._model.parameters()).device
    return engine([x.to(device) for x in images], joints.to(device), words.to(device), seed)


def apart(one: Act, two: Act) -> float:
    return float((one.waypoints - two.waypoints).abs().max())


# ---- on a CPU -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["flow", "beast_flow"])
def test_noise_is_an_input_and_nothing_is_drawn_inside(head: str) -> None:
    engine, before = Engine(model(head, True), CPU), torch.get_rng_state()
    one, same, other = ask(engine, 7), ask(engine, 7), ask(engine, 8)
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(one.waypoints, same.waypoints, atol=0.0, rtol=0.0)
    assert apart(one, other) > 1e-3


@pytest.mark.parametrize("head", STEPS)
def test_eager_on_a_cpu_is_what_the_network_says_to_the_bit(head: str) -> None:
    net = model(head, True)
    with torch.inference_mode():
        wanted = net.act(*seen(1), seed=5)
    got = ask(Engine(net, CPU), 5)
    assert torch.equal(got.waypoints, wanted.waypoints)
    assert got.execute == wanted.execute
    np.testing.assert_array_equal(got.apart, wanted.apart)


@pytest.mark.parametrize("head", ["bins", "beast_tokens"])
def test_tokens_are_control_points_as_the_tokenizer_has_them(head: str) -> None:
    code = model(head).code
    tokens = torch.randint(0, 64, (5, code.steps, 3), generator=torch.Generator().manual_seed(0))
    assert torch.equal(code.from_tokens(tokens), code.tokenizer.restore(tokens.flatten(1)).float())


# ---- static inputs -------------------------------------------------------------------------------------------


def test_static_inputs_stay_where_they_are() -> None:
    images, joints, words = seen(1)
    given = (images[0].contiguous(memory_format=torch.channels_last), joints, words)
    static = Static(given)
    before = [t.data_ptr() for t in static.tensors]
    static.fill([2.0 * t for t in given])
    assert [t.data_ptr() for t in static.tensors] == before
    assert static.tensors[0].is_contiguous(memory_format=torch.channels_last)
    for have, was in zip(static.tensors, given, strict=True):
        assert torch.equal(have, 2.0 * was)
        assert have.data_ptr() != was.data_ptr()


@pytest.mark.parametrize("other", [torch.zeros(1), torch.zeros(1, 1), torch.zeros(2, 3), torch.zeros(1, 3).double()])
def test_static_inputs_stretch_nothing(other: Tensor) -> None:
    static = Static([torch.ones(1, 3)])
    with pytest.raises(RecordError, match=r'made ready for inputs of shape \(1, 3\).* Engine "eager" takes any\.'):
        static.fill([other])
    assert torch.equal(static.tensors[0], torch.ones(1, 3))


# ---- precision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["regression", "flow", "beast"])
def test_bf16_moves_waypoints_by_at_most_5_mrad(head: str) -> None:
    net = model(head)
    moved = [apart(ask(Engine(net, CPU, precision="bf16"), n, n), ask(Engine(net, CPU), n, n)) for n in range(4)]
    assert 0.0 < max(moved) <= 5e-3


def test_bf16_reaches_the_encoders_and_nothing_else() -> None:
    net, kinds = model(), {}
    for name in ("encoders", "image_tokens", "seen", "body", "head.out.arm"):
        part = net.get_submodule(name)
        part = part[0] if isinstance(part, torch.nn.ModuleList) else part
        inside = next(m for m in part.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear))
        inside.register_forward_hook(lambda _m, _given, said, name=name: kinds.__setitem__(name, said.dtype))
    ask(Engine(net, CPU, precision="bf16"))
    assert kinds.pop("encoders") == torch.bfloat16
    assert set(kinds.values()) == {torch.float32}
    assert len(kinds) == 4


# ---- which engine --------------------------------------------------------------------------------------------


def test_each_device_has_its_engine() -> None:
    assert find_engine("auto", "float32", CPU) == "eager"
    assert find_engine("auto", "bf16", torch.device("cuda:1")) == "graph"
    assert [find_engine(n, "bf16", torch.device("cuda")) for n in ENGINES[1:]] == list(ON_GPU)


@pytest.mark.parametrize("name", ["graph", "compiled_graph"])
def test_a_graph_needs_a_gpu(name: str) -> None:
    with pytest.raises(ConfigError, match=f'engine "{name}" needs a GPU; on device "cpu" use "eager" or "compiled"'):
        CheckpointPolicy("no such file", engine=name)


def test_names_that_are_none_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UnknownName, match='unknown engine "grahp"; did you mean "graph"'):
        CheckpointPolicy("no such file", engine="grahp")
    with pytest.raises(UnknownName, match='unknown precision "float16"; did you mean "float32"'):
        CheckpointPolicy("no such file", precision="float16")


def test_images_are_made_small_where_the_network_computes() -> None:
    assert isinstance(image_input(96, torch.device("cuda")), DeviceImages)
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    (got,) = image_input(32, CPU)([picture])
    assert torch.equal(got, to_input(torch.from_numpy(shrink(picture, 32))[None])), "on a CPU as in training"


# ---- compiled ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler here")
def test_a_compiled_network_says_the_same() -> None:
    net = trunk()
    plain, engine = Engine(net, CPU), Engine(net, CPU, "compiled")
    for given in (1, 2):
        assert apart(ask(engine, 0, given), ask(plain, 0, given)) <= 1e-5
    images, joints, words = seen(2)
    with pytest.raises(RecordError, match="made ready for inputs of shape"):
        engine(images, joints, words)


def test_what_cannot_be_compiled_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    say = ActorModel.say
    monkeypatch.setattr(ActorModel, "say", lambda self, x, *rest: say(self, x if x.sum() > 0 else -x, *rest))
    with pytest.raises(ConfigError, match=r'engine "compiled" cannot run this network \(.*\); engine "eager" can\.'):
        ask(Engine(model(), CPU, "compiled"))


def test_a_compiler_that_makes_something_else_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    net, (images, joints, words) = model(), seen(1)
    monkeypatch.setattr(
        torch, "compile", lambda step, **_: lambda *_given: step(*images, joints, words, net.noise(1, 0))
    )
    with pytest.raises(ConfigError, match=r'engine "compiled" puts waypoints 0\.\d+ rad from where the network does'):
        ask(Engine(net, CPU, "compiled"))


@pytest.mark.parametrize("condition", [False, True])
def test_a_policy_that_is_warm_has_its_engine_ready(condition: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is guided, whose guided answers go past the engine."""
    made = []
    monkeypatch.setattr(torch, "compile", lambda step, **_: made.append(step) or step)
    net = model("flow", True)
    policy = CheckpointPolicy.from_model(net, CheckpointInfo("toy", "go", net.config), condition, engine="compiled")
    assert not made
    policy.warm_up()
    assert len(made) == 1
    picture = np.zeros((48, 64, 3), np.uint8)
    policy.infer(Observation(NS, {"front": picture}, JOINTS, np.zeros(3), "go"))
    assert len(made) == 1


# ---- on a GPU ------------------------------------------------------------------------------------------------


def moved(net: Model, engine: str, precision: str = "float32") -> Engine:
    torch.compiler.reset()
    device = torch.device("cuda")
    return Engine(copy.deepcopy(net).to(device), device, engine, precision)


@GPU
@pytest.mark.parametrize("engine", ON_GPU)
@pytest.mark.parametrize("head", ["regression", "flow", "beast"])
def test_a_gpu_says_what_a_cpu_says(head: str, engine: str) -> None:
    net = model(head, True)
    plain, there = Engine(net, CPU), moved(net, engine)
    firsts = [ask(there, n, n) for n in range(4)]
    for n, first in enumerate(firsts):
        assert first.waypoints.device == CPU
        assert apart(first, ask(plain, n, n)) <= 1e-3, "nor written over by a later answer"
        assert torch.equal(ask(there, n, n).waypoints, first.waypoints), "the same stamp, the same chunk"


@GPU
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("head", STEPS)
def test_every_head_can_be_recorded(head: str, mixed: bool) -> None:
    net = model(head, mixed)
    eager, graph = moved(net, "eager"), moved(net, "graph")
    for n in range(3):
        assert apart(ask(graph, n, n), ask(eager, n, n)) <= 1e-3


@GPU
@pytest.mark.parametrize("engine", ON_GPU)
def test_bf16_on_a_gpu_moves_waypoints_by_at_most_10_mrad(engine: str) -> None:
    net = model()
    there = moved(net, engine, "bf16")
    assert max(apart(ask(there, n, n), ask(Engine(net, CPU), n, n)) for n in range(4)) <= 0.01


@GPU
def test_a_graph_takes_the_shapes_it_was_recorded_with_and_no_others() -> None:
    engine = moved(model(), "graph")
    ask(engine)
    images, joints, words = seen(2)
    with pytest.raises(RecordError, match="made ready for inputs of shape"):
        engine([x.cuda() for x in images], joints.cuda(), words.cuda())


@GPU
@pytest.mark.parametrize("head", ["regression", "flow"])
def test_a_policy_on_a_gpu_sends_what_it_sends_on_a_cpu(head: str) -> None:
    net = model(head, True)
    info = CheckpointInfo("toy", "go", net.config)
    here = CheckpointPolicy.from_model(copy.deepcopy(net), info, condition=head == "flow")
    there = CheckpointPolicy.from_model(copy.deepcopy(net), info, condition=head == "flow", device="cuda")
    there.warm_up()
    still = np.array([0.1, 0.3, -0.2])
    for n in range(3):
        picture = np.random.default_rng(n).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        observation = Observation(NS + n, {"front": picture}, JOINTS, still, "go")
        committed = CommittedPrefix(Plan.hold(JOINTS, still, NS), NS // 5, NS // 2) if n == 2 else None
        one, two = here.infer(observation, committed), there.infer(observation, committed)
        count = min(len(one.positions), len(two.positions))
        np.testing.assert_allclose(one.positions[:count], two.positions[:count], atol=0.02)


@GPU
def test_what_cannot_be_recorded_is_refused_and_eager_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    say = ActorModel.say
    net = model()
    monkeypatch.setattr(ActorModel, "say", lambda self, x, *rest: say(self, x * float(x.sum().item()), *rest))
    with pytest.raises(ConfigError, match=r'engine "graph" cannot run this network \(.*\); engine "eager" can\.'):
        ask(moved(net, "graph"))
    assert torch.isfinite(ask(moved(net, "eager")).waypoints).all()

"""The execution model of every node: one thread, one periodic loop, no executor.

Each step of the loop takes the messages that have arrived, calls the core and publishes. Taking from an empty
subscription costs about a microsecond, so no callback, lock or wait set is needed, and nothing but the loop's own
work delays a loop with deadlines. `PollingSubscription` and `serve` call what rclpy's executors call.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Generic, TypeVar, cast

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.service import Service
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from vla_ros.core.errors import VlaError
from vla_ros.core.records import NS
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import to_ns
from vla_ros.nodes.common.middleware import without_shared_memory

CLOCK_JUMP_NS, MAX_CLOCK_RATE = NS, 50
"""`/clock` may run up to 50 times as fast as real time, plus one second; a larger step counts as a clock jump."""

M = TypeVar("M")


class Loop:
    """A node as `main` runs it: one `step` per deadline until the process receives a signal to end.

    Attributes:
        period_ns: Time between deadlines [ns].
    """

    period_ns: int

    def step(self, late_ns: int) -> None:
        """Do the work of one deadline; `late_ns` is the wake-up latency [ns]."""
        raise NotImplementedError

    def may_end(self) -> bool:
        """Whether the loop may end now; polled before every further step once a signal to end was received."""
        return True

    def close(self) -> None:
        """Release resources and write logs; called once after the last step."""


class PollingSubscription(Generic[M]):
    """A subscription without a callback; the loop takes its messages."""

    def __init__(self, node: Node, message_type: type[M], topic: str, qos: QoSProfile) -> None:
        """Subscribe `node` to `topic`."""
        self._subscription = node.create_subscription(message_type, topic, lambda _message: None, qos)
        self._type = message_type

    def take(self, max_count: int = 10_000) -> Iterator[M]:
        """The received messages, oldest first; at most `max_count`, so that a flood of messages cannot block a loop."""
        for _ in range(max_count):
            taken = self._subscription.handle.take_message(self._type, False)
            if taken is None:
                return
            yield cast(M, taken[0])

    def newest(self) -> M | None:
        """The message received last, or None; older ones are dropped."""
        message = None
        for message in self.take():  # noqa: B007 - only the last is wanted
            pass
        return message

    def take_serialized(self) -> bytes | None:
        """The oldest received message in its serialized form (CDR), or None."""
        taken = self._subscription.handle.take_message(self._type, True)
        return None if taken is None else cast(bytes, taken[0])


def subscribe(node: Node, message_type: type[M], topic: str, qos: QoSProfile) -> PollingSubscription[M]:
    """Subscribe `node` to `topic`; the loop takes the messages, there is no callback."""
    return PollingSubscription(node, message_type, topic, qos)


def serve(service: Service) -> None:
    """Process the oldest pending request of `service`, if there is one."""
    kind: Any = service.srv_type
    request, header = service.handle.service_take_request(kind.Request)
    if header is not None:
        service.send_response(service.callback(request, kind.Response()), header)


class RosTime:
    """Monotonic ROS time: the system clock read once and continued by the monotonic clock, or a simulator's clock.

    With the parameter `use_sim_time` the time is the newest of `/clock`. It never decreases; a paused simulator makes
    it stand still. Jumps of `/clock` are recorded for the supervisor (`drift_ns`).
    """

    def __init__(self, node: Node) -> None:
        """Read the system clock once, or subscribe to `/clock`."""
        self._offset = time.time_ns() - time.monotonic_ns()
        self._clock: PollingSubscription[Clock] | None = None
        self._simulated_ns = self._jump_ns = 0
        self._advanced_ns = time.monotonic_ns()
        if node.get_parameter("use_sim_time").value:
            self._clock = subscribe(node, Clock, topics.CLOCK, topics.NEWEST)

    def now_ns(self) -> int:
        """Now [ns]; 0 until the first message of a simulator's clock."""
        if self._clock is None:
            return time.monotonic_ns() + self._offset
        message = self._clock.newest()
        if message is not None:
            self._update(to_ns(message.clock), time.monotonic_ns())
        return self._simulated_ns

    def _update(self, simulated_ns: int, received_ns: int) -> None:
        step, real = simulated_ns - self._simulated_ns, received_ns - self._advanced_ns
        if self._simulated_ns and not 0 <= step <= CLOCK_JUMP_NS + MAX_CLOCK_RATE * real:
            self._jump_ns = max(self._jump_ns, abs(step))
        if step > 0:
            self._simulated_ns, self._advanced_ns = simulated_ns, received_ns

    def drift_ns(self) -> int:
        """System clock minus monotonic time since the start, or the largest jump of `/clock` [ns]."""
        if self._clock is None:
            return time.time_ns() - self.now_ns()
        return self._jump_ns

    def standstill_s(self) -> float:
        """Real time since a simulator's clock last advanced [s]; 0 without `use_sim_time`."""
        return 0.0 if self._clock is None else (time.monotonic_ns() - self._advanced_ns) / NS


MIDDLEWARE_PRIORITY_OFFSET = 10
"""The middleware's threads get the loop's priority minus this."""


def set_realtime(priority: int) -> str:
    """Request SCHED_FIFO for this thread, and with a lower priority for every other thread of the process.

    The other threads belong to the middleware; without real-time priority they would delay the loop's messages.

    Args:
        priority: 1 to 90; 0 changes nothing. Needs root or an `rtprio` limit; a refusal is no error.

    Returns:
        The resulting scheduling, for the log.
    """
    if not priority:
        return "ordinary scheduling"
    middleware = os.sched_param(max(priority - MIDDLEWARE_PRIORITY_OFFSET, 1))
    try:
        for thread in (int(name) for name in os.listdir("/proc/self/task")):
            os.sched_setscheduler(thread, os.SCHED_FIFO, middleware)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError) as error:
        return f"ordinary scheduling (SCHED_FIFO refused: {error})"
    return f"SCHED_FIFO {priority}"


class _StopSignal:
    """Records that SIGINT or SIGTERM was received."""

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self.received = True


def loop(node: Loop, stop: _StopSignal, context: Context) -> None:
    """Step at absolute deadlines until a signal to end; deadlines missed by a complete period are skipped."""
    deadline = time.monotonic_ns() + node.period_ns
    while context.ok() and not (stop.received and node.may_end()):
        wait = deadline - time.monotonic_ns()
        if wait > 0:
            time.sleep(wait / NS)
        late = time.monotonic_ns() - deadline
        node.step(late)
        deadline += node.period_ns * max(1, 1 + late // node.period_ns)


def main(name: str, make: Callable[[Node], Loop]) -> None:
    """Start a node, run its loop and end it. Exit status 0, or 2 with a one-line error if it cannot start.

    Args:
        name: Name of the node.
        make: Builds the loop from the node.
    """
    os.environ.update(without_shared_memory(os.environ))
    stop = _StopSignal()
    try:
        rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
        ros = rclpy.create_node(
            name, automatically_declare_parameters_from_overrides=True, start_parameter_services=False
        )
    except RuntimeError as error:  # rclpy's error for invalid arguments, parameter files or keys
        print(f"{name}: {str(error).partition(', at /')[0]}".replace("\n", " "), file=sys.stderr)
        rclpy.try_shutdown()
        sys.exit(2)
    try:
        node = make(ros)
    except VlaError as error:
        print(f"{name}: {error}", file=sys.stderr)
        ros.context.try_shutdown()
        sys.exit(2)
    try:
        loop(node, stop, ros.context)
    except ExternalShutdownException:
        pass
    finally:
        node.close()
        ros.destroy_node()
        ros.context.try_shutdown()

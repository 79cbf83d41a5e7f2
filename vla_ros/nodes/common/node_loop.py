"""How a node runs: one thread, one loop, no executor.

Each node is a loop that takes what has arrived, calls the core and publishes. A take from an empty
subscription costs about a microsecond, so nothing waits for a callback, no lock is needed, and a loop with
deadlines is delayed by nothing but itself. `take` and `serve` use what rclpy's own executors call.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.service import Service
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from rosgraph_msgs.msg import Clock

from vla_ros.core.errors import VlaError
from vla_ros.core.records import NS
from vla_ros.nodes.common import topics
from vla_ros.nodes.common.conversions import to_ns
from vla_ros.nodes.common.middleware import without_shared_memory

LEAP_NS, FASTEST = NS, 50
"""`/clock` may run so many times as fast as real time, and a second more; what leaps farther was set."""


class Loop:
    """What `main` runs: one `step` per deadline, until asked to end.

    Attributes:
        period_ns: Time between deadlines [ns].
    """

    period_ns: int

    def step(self, late_ns: int) -> None:
        """Do the work of one deadline; `late_ns` is how late it was woken [ns]."""
        raise NotImplementedError

    def may_end(self) -> bool:
        """Asked before every further step once the process shall end; True ends the loop."""
        return True

    def close(self) -> None:
        """Leave nothing behind."""


def take(subscription: Subscription, most: int = 10_000) -> Iterator[Any]:
    """The messages that have arrived, oldest first; at most `most`, so that no flood holds up a loop."""
    for _ in range(most):
        taken = subscription.handle.take_message(subscription.msg_type, False)
        if taken is None:
            return
        yield taken[0]


def newest(subscription: Subscription) -> Any | None:
    """The last message that has arrived, or None."""
    message = None
    for message in take(subscription):  # noqa: B007 - only the last is wanted
        pass
    return message


def serve(service: Service) -> None:
    """Answer the oldest request that has arrived, if any."""
    kind: Any = service.srv_type
    request, header = service.handle.service_take_request(kind.Request)
    if header is not None:
        service.send_response(service.callback(request, kind.Response()), header)


class RosTime:
    """ROS time that cannot jump: the system clock read once and carried on by the monotonic one, or a simulator's.

    With the parameter `use_sim_time` it is the newest of `/clock` and never steps back. A simulator that pauses makes
    it stand still. What `/clock` does besides running on is kept, for the supervisor to judge.
    """

    def __init__(self, node: Node) -> None:
        """Read the clock once, or listen to the simulator's."""
        self._offset = time.time_ns() - time.monotonic_ns()
        self._clock: Subscription | None = None
        self._simulated_ns = self._set_by_ns = 0
        self._advanced_ns = time.monotonic_ns()
        if node.get_parameter("use_sim_time").value:
            ignored = lambda _message: None  # noqa: E731 - messages are taken, not called back
            self._clock = node.create_subscription(Clock, topics.CLOCK, ignored, topics.NEWEST)

    def now_ns(self) -> int:
        """Now [ns]; 0 until a simulator's clock is heard."""
        if self._clock is None:
            return time.monotonic_ns() + self._offset
        message = newest(self._clock)
        if message is not None:
            self._hear(to_ns(message.clock), time.monotonic_ns())
        return self._simulated_ns

    def _hear(self, simulated_ns: int, heard_ns: int) -> None:
        step, real = simulated_ns - self._simulated_ns, heard_ns - self._advanced_ns
        if self._simulated_ns and not 0 <= step <= LEAP_NS + FASTEST * real:
            self._set_by_ns = max(self._set_by_ns, abs(step))
        if step > 0:
            self._simulated_ns, self._advanced_ns = simulated_ns, heard_ns

    def drift_ns(self) -> int:
        """How far the clock was set since the start: the system's against the monotonic one, or `/clock` leapt [ns]."""
        if self._clock is None:
            return time.time_ns() - self.now_ns()
        return self._set_by_ns

    def still_s(self) -> float:
        """For how long a simulator's clock has not advanced, in real time [s]; 0 without one."""
        return 0.0 if self._clock is None else (time.monotonic_ns() - self._advanced_ns) / NS


CARRIERS = 10
"""So much below the loop's own priority are the threads that bring its messages."""


def set_realtime(priority: int) -> str:
    """Ask for SCHED_FIFO for this thread and, a little less urgent, every other one of the process.

    The others belong to the middleware: a loop that is never late is no use if what it listens to is.

    Args:
        priority: 1 to 90; 0 changes nothing. Needs root or an `rtprio` limit, and is never required.

    Returns:
        What came of it, for the log.
    """
    if not priority:
        return "ordinary scheduling"
    carriers = os.sched_param(max(priority - CARRIERS, 1))
    try:
        for thread in (int(name) for name in os.listdir("/proc/self/task")):
            os.sched_setscheduler(thread, os.SCHED_FIFO, carriers)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError) as error:
        return f"ordinary scheduling (SCHED_FIFO refused: {error})"
    return f"SCHED_FIFO {priority}"


class _Stop:
    """Remembers that a signal asked the loop to end."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def loop(node: Loop, stop: _Stop, context: Context) -> None:
    """Step at absolute deadlines until asked to stop; deadlines missed by a whole period are skipped."""
    deadline = time.monotonic_ns() + node.period_ns
    while context.ok() and not (stop.asked and node.may_end()):
        wait = deadline - time.monotonic_ns()
        if wait > 0:
            time.sleep(wait / NS)
        late = time.monotonic_ns() - deadline
        node.step(late)
        deadline += node.period_ns * max(1, 1 + late // node.period_ns)


def main(name: str, make: Callable[[Node], Loop]) -> None:
    """Start a node, run it, end it: exit status 0, or 2 with one sentence where it cannot start.

    Args:
        name: Of the node.
        make: Builds it.
    """
    os.environ.update(without_shared_memory(os.environ))
    stop = _Stop()
    try:
        rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
        ros = rclpy.create_node(
            name, automatically_declare_parameters_from_overrides=True, start_parameter_services=False
        )
    except RuntimeError as error:  # what rclpy makes of arguments, parameter files and keys it cannot read
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

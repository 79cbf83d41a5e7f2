"""Faults of what surrounds the processes: clocks, network, processor load, disk."""

from __future__ import annotations

import signal

from faults.fault import NO_EFFECT, Fault
from faults.injections import all_of
from faults.injections.environment import fill_disk, load_processor, network, set_clock, unload_processor
from faults.injections.operator import ESTOP
from faults.injections.processes import kill
from faults.scene import Setup

SUPERVISOR_CLOCK = Setup(settable_clocks=("supervisor_node",))
OTHER_NODES = ("planner_node", "sim_node")
OTHER_CLOCKS = Setup(settable_clocks=OTHER_NODES)
NETWORK, DISK = Setup(separate_networks=True), Setup(small_disk=True)
CLOCK_SET = "the system clock was set"
GOOD_NETWORK = network()

FAULTS = (
    *(
        Fault(
            f"supervisor's system clock set {name}",
            set_clock(seconds, "supervisor_node"),
            "stopped",
            0.5,
            CLOCK_SET,
            setup=SUPERVISOR_CLOCK,
        )
        for name, seconds in (("1 s ahead", 1.0), ("1 s back", -1.0), ("1 h ahead", 3600.0), ("1 h back", -3600.0))
    ),
    Fault("every other system clock set 1 s ahead", set_clock(1.0, *OTHER_NODES), **NO_EFFECT, setup=OTHER_CLOCKS),
    Fault("every other system clock set 1 h back", set_clock(-3600.0, *OTHER_NODES), **NO_EFFECT, setup=OTHER_CLOCKS),
    Fault(
        "supervisor's system clock set 1 h back, and an emergency stop requested",
        all_of(set_clock(-3600.0, "supervisor_node"), ESTOP),
        "estopped",
        0.5,
        setup=SUPERVISOR_CLOCK,
    ),
    Fault("network: cut", network(loss=1.0), "stopped", 0.5, "no joint state", GOOD_NETWORK, setup=NETWORK),
    Fault("network: 10 % lost", network(loss=0.1), **NO_EFFECT, remove=GOOD_NETWORK, setup=NETWORK),
    Fault("network: 0.05 s late", network(delay_s=0.05), **NO_EFFECT, remove=GOOD_NETWORK, setup=NETWORK),
    Fault(
        "network: 0 to 0.05 s late, reordered",
        network(jitter_s=0.05),
        **NO_EFFECT,
        remove=GOOD_NETWORK,
        setup=NETWORK,
    ),
    Fault("network: 0.7 s late", network(delay_s=0.7), "stopped", 1.0, "", GOOD_NETWORK, setup=NETWORK),
    Fault(
        "network: 10 % lost, 0.02 to 0.06 s late",
        network(loss=0.1, delay_s=0.02, jitter_s=0.04),
        **NO_EFFECT,
        remove=GOOD_NETWORK,
        setup=NETWORK,
    ),
    Fault(
        "network: cut, then an emergency stop requested",
        all_of(network(loss=1.0), ESTOP),
        "estopped",
        0.3,
        "emergency stop requested",
        GOOD_NETWORK,
        setup=NETWORK,
    ),
    Fault(
        "machine: two busy processes per core",
        load_processor,
        **NO_EFFECT,
        remove=unload_processor,
        setup=Setup(realtime_simulator=True),
    ),
    Fault("disk full", fill_disk, **NO_EFFECT, setup=DISK),
    Fault(
        "disk full, then the supervisor terminated",
        all_of(fill_disk, kill("supervisor_node", signal.SIGTERM)),
        "stopped",
        0.2,
        "shutting down",
        setup=DISK,
    ),
)

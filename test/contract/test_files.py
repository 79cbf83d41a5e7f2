"""Every file of config/robots is tested by the contract, under the name in the file."""

from contract.robots import FILES, ROBOTS

from vla_ros.config import load_robot


def test_every_file_is_in_the_contract_under_its_own_name() -> None:
    assert FILES
    for file in FILES:
        assert load_robot(file.stem).name == file.stem
        assert ROBOTS[file.stem].joints == load_robot(file.stem).joints

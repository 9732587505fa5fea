"""Guards of the Lambda targets that no accident of the other tests touches; each was red with its guard taken out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from faults import Call, Fault, faults, refused
from faults.harness import Service
from tiny import Tiny

from ml_delivery.errors import CloudError
from ml_delivery.targets.lambda_function.function import Convergence


@pytest.fixture
def service(tiny: Tiny) -> Service:
    return Service(tiny)


def test_version_that_is_not_there_yet_is_called_again(service: Service) -> None:
    """A version that was just published may be unknown for a moment."""
    service.deploy(NOTE="1")
    with faults(unknown := refused("ResourceNotFoundException", on="Invoke", status=404, times=2)):
        service.deploy(NOTE="2")
    assert unknown.struck == ["Invoke"] * 2
    assert (service.live(), service.problems()) == (2, [])


def test_version_that_is_pending_is_waited_for(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda prepares a version after it was published; until then, it is not used."""
    read, pending, seen = Convergence._configuration, ["Pending", "Pending"], list[str]()

    def slow(self: Convergence, qualifier: str) -> dict[str, Any] | None:
        found = read(self, qualifier)
        if found and qualifier.isdigit():
            seen.append(qualifier)
            return {**found, "State": pending.pop()} if pending else found
        return found

    monkeypatch.setattr(Convergence, "_configuration", slow)
    service.deploy(NOTE="1")
    assert seen == ["1"] * 3


def test_version_that_serves_does_not_stop_pruning(service: Service) -> None:
    """Lambda refuses to delete what an alias needs; any other refusal is an error."""
    service.deploy(NOTE="1")
    deployer = service.open().deployer
    with faults(needed := refused("ResourceConflictException", on="DeleteFunction")):
        deployer.remove("1")
    assert needed.struck == ["DeleteFunction"]
    with faults(refused("AccessDeniedException", on="DeleteFunction", status=403)), pytest.raises(CloudError):
        deployer.remove("1")
    assert service.live() == 1


def test_role_is_part_of_the_settings(service: Service) -> None:
    """Whoever gives the function another role has changed what serves."""
    service.deploy(NOTE="1")
    deployer = service.open().deployer
    found = deployer.client.get_function_configuration(FunctionName=service.name)
    assert deployer.read(found)["role"] == found["Role"]
    assert deployer.read({**found, "Role": "arn:aws:iam::123456789012:role/another"}) != deployer.read(found)


def meanwhile(operation: str, change: Callable[[], object]) -> Fault:
    """Something else changes the function just before the first call of ``operation`` arrives."""

    def act(call: Call) -> Any:
        change()
        return call.send()

    return Fault("meanwhile", act, f"^{operation}")


def test_configuration_that_changes_meanwhile_is_read_again(service: Service) -> None:
    """A variable that another user sets between the reading and the update stays."""
    service.deploy(NOTE="1")
    deployer = service.open().deployer

    def change() -> None:
        there = deployer.client.get_function_configuration(FunctionName=service.name)["Environment"]["Variables"]
        variables = {"Variables": {**there, "OTHER": "theirs"}}
        deployer.client.update_function_configuration(FunctionName=service.name, Environment=variables)
        deployer.client.get_waiter("function_updated_v2").wait(FunctionName=service.name, WaiterConfig={"Delay": 0.1})

    with faults(slipped := meanwhile("UpdateFunctionConfiguration", change)):
        service.deploy(NOTE="2")
    assert slipped.struck == ["UpdateFunctionConfiguration"]
    found = deployer.client.get_function_configuration(FunctionName=service.name, Qualifier="live")
    assert found["Environment"]["Variables"]["OTHER"] == "theirs"
    assert (found["Environment"]["Variables"]["NOTE"], service.live()) == ("2", 2)


def test_function_that_changes_before_it_is_published_is_not(service: Service) -> None:
    """What another user changes after the last reading is in no version."""
    service.deploy(NOTE="1")
    deployer = service.open().deployer

    def change() -> None:
        deployer.client.update_function_configuration(FunctionName=service.name, Timeout=7)
        deployer.client.get_waiter("function_updated_v2").wait(FunctionName=service.name, WaiterConfig={"Delay": 0.1})

    with faults(slipped := meanwhile("PublishVersion", change)):
        service.deploy(NOTE="2")
    assert slipped.struck == ["PublishVersion"]
    versions = deployer.client.list_versions_by_function(FunctionName=service.name)["Versions"]
    assert {version["Timeout"] for version in versions if version["Version"] != "$LATEST"} == {3}
    assert service.live() == 2

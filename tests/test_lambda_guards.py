"""Guards of the Lambda targets that no accident of the other tests touches; each was red with its guard taken out."""

from __future__ import annotations

from typing import Any

import pytest
from faults import faults, refused
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

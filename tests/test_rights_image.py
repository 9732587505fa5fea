"""The roles of a service whose target is a container image, for what they have beside those of a ZIP."""

from __future__ import annotations

from pathlib import Path

import pytest
from roles import Roles
from tiny import Tiny

from ml_delivery.containers import engines

OF_IMAGES = {
    "codebuild": {"SeeWhetherPushed", "SignInToRegistry", "PushImage", "NamePushedImage"},
    "deploy": {"CompareAndPruneImages"},
}


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory, shared: Path, engine: engines.Engine) -> Roles:
    assert engine
    tiny = Tiny(tmp_path_factory.mktemp("rights") / "service", shared, "boxed")
    tiny.box(by_engine=True)
    return Roles(tiny)


@pytest.mark.parametrize("role", OF_IMAGES)
def test_stage_passes_with_an_image_and_uses_all_that_images_need(roles: Roles, role: str) -> None:
    """The stage works with the role's rights; without any one that is for images it stops, and names it."""
    more = [right for right in roles.rights() if right.sid in OF_IMAGES[role]]
    assert {right.sid for right in more} == OF_IMAGES[role]
    roles.prove(role, more)


def test_other_statements_are_those_of_a_zip(roles: Roles, tmp_path: Path, shared: Path) -> None:
    """What is not for images is in the roles of a ZIP too, whose proof takes all of it away; and nothing else is there."""
    zipped = Roles(Tiny(tmp_path / "service", shared, "zipped"))

    def rights(of: Roles) -> set[str]:
        return {str(right).replace(of.name, "NAME") for right in of.rights()}

    images = {r.sid for r in roles.rights()} & set.union(*OF_IMAGES.values())
    assert {right for right in rights(roles) if right.split("/")[1] not in images} == rights(zipped)

"""The policies in CloudFormation templates, statement by statement, and how those of two templates differ."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery import cloudformation

if TYPE_CHECKING:
    from ml_delivery.account.stacks import Stack
    from ml_delivery.cloud import Cloud
    from ml_delivery.cloudformation import Tree

__all__ = ["Part", "PolicyChange", "Statement", "compared", "difference", "of_document", "resolved", "statements"]

NOTHING = object()  # AWS::NoValue
# Properties that attach a policy that is defined elsewhere.
ATTACHED = ("ManagedPolicyArns", "PermissionsBoundary")


@dataclass(frozen=True, order=True)
class Part:
    """One part of a statement: ``Effect``, ``Action``, ``Resource``, ``Principal``, ``Condition`` … and one value of it."""

    element: str
    value: str


@dataclass(frozen=True)
class Statement:
    """A statement of a policy.

    Attributes:
        resource: the name of the role, bucket or topic that has the policy; its name in the template if it has no other.
        policy: the policy's name; ``trust`` for who may assume a role, else the property that contains it.
        sid: its Sid, or its position in the policy.
        parts: everything in it, with CloudFormation's functions resolved; ``${Name}`` where only CloudFormation can.
    """

    resource: str
    policy: str
    sid: str
    parts: frozenset[Part]

    @property
    def effect(self) -> str:
        """Allow or Deny; empty for a policy that is attached as a whole."""
        return next((part.value for part in self.parts if part.element == "Effect"), "")


@dataclass(frozen=True)
class PolicyChange:
    """How a statement differs: ``change`` is added, removed or changed; ``added`` and ``removed`` are its parts."""

    change: str
    resource: str
    policy: str
    sid: str
    effect: str
    added: tuple[Part, ...]
    removed: tuple[Part, ...]


def compared(wanted: Stack, there: dict[str, Any] | None, cloud: Cloud) -> tuple[PolicyChange, ...]:
    """How the policies of ``wanted`` differ from those of the stack that is there, if there is one."""
    pseudo = {"AWS::AccountId": cloud.account, "AWS::Region": cloud.region, "AWS::Partition": "aws"}
    pseudo |= {"AWS::StackName": wanted.name, "AWS::URLSuffix": "amazonaws.com"}
    new = statements(cloudformation.parse(wanted.body), wanted.parameters, pseudo)
    if there is None:
        return difference([], new)
    with cloud.faults():
        body = cloud.client("cloudformation").get_template(StackName=wanted.name)["TemplateBody"]
    template = cloudformation.parse(body) if isinstance(body, str) else body
    parameters = {one["ParameterKey"]: one.get("ParameterValue", "") for one in there.get("Parameters", [])}
    return difference(statements(template, parameters, pseudo), new)


def difference(old: list[Statement], new: list[Statement]) -> tuple[PolicyChange, ...]:
    """The statements of ``new`` that are not in ``old``, those that are no longer there, and those that differ."""
    before, after = ({(s.resource, s.policy, s.sid): s for s in listed} for listed in (old, new))
    changes = []
    for key in dict.fromkeys([*before, *after]):
        was, will = before.get(key), after.get(key)
        had, has = (one.parts if one else frozenset[Part]() for one in (was, will))
        if had != has:
            change = "changed" if was and will else "added" if will else "removed"
            effect = (will or before[key]).effect
            changes.append(PolicyChange(change, *key, effect, tuple(sorted(has - had)), tuple(sorted(had - has))))
    return tuple(changes)


def statements(template: Tree, parameters: dict[str, str], pseudo: dict[str, str]) -> list[Statement]:
    """Every statement of every policy in ``template``.

    Args:
        template: as data, with functions in long form.
        parameters: the values of its parameters; the others have their defaults.
        pseudo: the values of ``AWS::AccountId`` and its like, and of attributes, as ``Bucket.Arn``.
    """
    resolver = _Resolver(template, parameters, pseudo)
    found: list[Statement] = []
    for logical, resource in template.get("Resources", {}).items():
        if "Condition" in resource and not resolver.holds(resource["Condition"]):
            continue
        properties = resolver.value(resource.get("Properties", {}))
        named = [str(properties[key]) for key in ("RoleName", "TopicName", "Name") if key in properties]
        name = named[0] if named else logical
        found += _attached(name, properties)
        if str(resource.get("Type")).endswith("::Permission"):
            found.append(Statement(name, "permission", logical, frozenset(_parts({"Effect": "Allow", **properties}))))
        for policy, document in _documents(properties):
            found += of_document(name, policy, document)
    return found


def resolved(template: Tree, parameters: dict[str, str], pseudo: dict[str, str], logical: str) -> Tree:
    """The properties of one resource of ``template``, with CloudFormation's functions resolved; arguments as for ``statements``."""
    properties: Tree = _Resolver(template, parameters, pseudo).value(template["Resources"][logical]["Properties"])
    return properties


def of_document(resource: str, policy: str, document: Tree) -> list[Statement]:
    """The statements of one policy document, which has no CloudFormation functions; ``resource`` and ``policy`` are its names."""
    numbered = enumerate(_listed(document["Statement"]), 1)
    return [
        Statement(resource, policy, str(one.get("Sid", number)), frozenset(_parts(one))) for number, one in numbered
    ]


def _attached(name: str, properties: Tree) -> Iterator[Statement]:
    for key in ATTACHED:
        listed = properties.get(key, [])
        for arn in listed if isinstance(listed, list) else [listed]:
            yield Statement(name, key, _text(arn), frozenset({Part("Policy", _text(arn))}))


def _documents(node: Any, name: str = "") -> Iterator[tuple[str, Tree]]:
    """Each policy document inside a resource's properties, and its name."""
    if isinstance(node, dict):
        if "Statement" in node:
            yield {"AssumeRolePolicyDocument": "trust"}.get(name, name), node
            return
        name = str(node.get("PolicyName", name))
        for key, value in node.items():
            yield from _documents(value, name if key == "PolicyDocument" and "PolicyName" in node else key)
    elif isinstance(node, list):
        for value in node:
            yield from _documents(value, name)


def _parts(statement: Tree) -> Iterator[Part]:
    for element, value in statement.items():
        if element == "Sid":
            continue
        if element == "Condition":
            for operator, wanted in value.items():
                for key, values in wanted.items():
                    yield from (Part(element, f"{operator} {key} {_text(one)}") for one in _listed(values))
        elif isinstance(value, dict):  # principals, by their kind
            for kind, values in value.items():
                yield from (Part(element, f"{kind} {_text(one)}") for one in _listed(values))
        else:
            yield from (Part(element, _text(one)) for one in _listed(value))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


class _Resolver:
    """Resolves CloudFormation's functions, as far as that can be done without CloudFormation.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
    """

    def __init__(self, template: Tree, parameters: dict[str, str], pseudo: dict[str, str]) -> None:
        self._conditions = template.get("Conditions", {})
        self._known: dict[str, Any] = {**pseudo, "AWS::NoValue": NOTHING}
        for name, declared in template.get("Parameters", {}).items():
            value = str(parameters.get(name, declared.get("Default", f"${{{name}}}")))
            several = "List" in str(declared.get("Type"))
            self._known[name] = [item.strip() for item in value.split(",")] if several else value

    def holds(self, condition: Any) -> bool:
        """Whether a condition holds, by its name or as an expression."""
        if isinstance(condition, str):
            return self.holds(self._conditions.get(condition, False))
        if not isinstance(condition, dict) or len(condition) != 1:
            return bool(condition)
        ((function, words),) = condition.items()
        match function:
            case "Condition":
                return self.holds(words)
            case "Fn::Not":
                return not self.holds(words[0])
            case "Fn::And":
                return all(map(self.holds, words))
            case "Fn::Or":
                return any(map(self.holds, words))
            case "Fn::Equals":
                return bool(self.value(words[0]) == self.value(words[1]))
        return False

    def value(self, node: Any) -> Any:
        """``node`` without functions; a part that resolves to nothing is left out."""
        if isinstance(node, list):
            items = [self.value(one) for one in node]
            return [one for one in items if one is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, words),) = node.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._call(function, words)
        values = {name: self.value(one) for name, one in node.items()}
        return {name: one for name, one in values.items() if one is not NOTHING}

    def _call(self, function: str, words: Any) -> Any:
        match function:
            case "Ref":
                return self._known.get(words, f"${{{words}}}")
            case "Fn::GetAtt":
                name = ".".join(words) if isinstance(words, list) else words
                return self._known.get(name, f"${{{name}}}")
            case "Fn::If":
                return self.value(words[1] if self.holds(words[0]) else words[2])
            case "Fn::Sub":
                text, more = words if isinstance(words, list) else (words, {})
                known = {**self._known, **{name: self.value(one) for name, one in more.items()}}

                def replaced(found: re.Match[str]) -> str:
                    name = found[1]
                    return f"${{{name[1:]}}}" if name.startswith("!") else str(known.get(name, found[0]))

                return re.sub(r"\$\{([^}]+)\}", replaced, text)
            case "Fn::Join":
                return words[0].join(map(_text, _listed(self.value(words[1]))))
            case "Fn::Split":
                return _text(self.value(words[1])).split(words[0])
            case "Fn::Select":
                listed, number = self.value(words[1]), int(self.value(words[0]))
                return listed[number] if isinstance(listed, list) and number < len(listed) else _text(listed)
        return f"${{{json.dumps({function: words}, sort_keys=True)}}}"

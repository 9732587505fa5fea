"""Who may do what in a cluster of the embedded AWS: tokens of IAM, access entries, groups, and stacks that hold them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from clusters import NAME, SPACE, Cluster, until
from emulated import client, code_of

from embedded_aws.kubernetes import existing
from ml_delivery import emulator

RBAC = f"/apis/rbac.authorization.k8s.io/v1{SPACE}"
PODS = f"/api/v1{SPACE}/pods"


@pytest.fixture
def user(cluster: Cluster, request: pytest.FixtureRequest) -> Cluster:
    """The cluster, for a user without an access entry."""
    iam, name = client(cluster.running, "iam"), request.node.name.replace("_", "-")[:60]
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Cluster(cluster.running, key=key["AccessKeyId"], secret=key["SecretAccessKey"])


def arn(user: Cluster) -> str:
    return str(client(user.running, "sts", user.key, user.secret).get_caller_identity()["Arn"])


def test_token_admits_by_access_entry_and_group(cluster: Cluster, user: Cluster) -> None:
    """No entry is 401; an entry alone 403; its group's role admits to that namespace only; without the entry it is 401 again."""
    assert user.ask(PODS)[0] == 401
    aws = client(cluster.running, "eks")
    aws.create_access_entry(clusterName=NAME, principalArn=arn(user), kubernetesGroups=["readers"])
    assert until(lambda: (s := user.ask(PODS)[0]) != 401 and s, what="the entry", seconds=5) == 403
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    head = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    cluster.apply(f"{RBAC}/roles/readers", {**head, "kind": "Role", "rules": rules})
    group = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "readers"}
    role = {"kind": "Role", "apiGroup": "rbac.authorization.k8s.io", "name": "readers"}
    cluster.apply(f"{RBAC}/rolebindings/readers", {**head, "kind": "RoleBinding", "subjects": [group], "roleRef": role})
    assert user.ask(PODS)[0] == 200
    assert user.ask(f"/api/v1{SPACE}/secrets")[0] == 403
    assert user.ask("/api/v1/namespaces/kube-system/pods")[0] == 403
    aws.delete_access_entry(clusterName=NAME, principalArn=arn(user))
    until(lambda: user.ask(PODS)[0] == 401, what="the end of the entry", seconds=10)


def test_invented_tokens_are_refused(cluster: Cluster) -> None:
    """A wrong secret, another cluster's name, an unknown key and other text do not admit."""
    right = cluster.running.access_key
    for other in (
        Cluster(cluster.running, key=right, secret="wrong"),
        Cluster(cluster.running, name="another"),
        Cluster(cluster.running, key="AKIAIOSFODNN7EXAMPLE", secret="wrong"),
    ):
        assert cluster.ask(PODS, token=other.token())[0] == 401
    assert cluster.ask(PODS, token="k8s-aws-v1.bm9uc2Vuc2U")[0] == 401
    assert cluster.ask(PODS)[0] == 200


def test_tokens_are_checked_for_the_api_server_only(cluster: Cluster) -> None:
    """The address at which tokens are checked is closed to all who lack the cluster's secret."""
    for path in ("", f"/123456789012/eu-west-1/{NAME}/{'x' * 32}"):
        url = f"{cluster.running.endpoint}/_ministack/eks-auth{path}"
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(urllib.request.Request(url, data=b"{}"), timeout=10)
        assert refusal.value.code == 403


def test_access_policy_gives_its_rights(cluster: Cluster, user: Cluster) -> None:
    """A policy associated with an entry admits to what EKS says of it, in its namespaces only."""
    aws = client(cluster.running, "eks")
    aws.create_access_entry(clusterName=NAME, principalArn=arn(user))
    policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
    scope = {"type": "namespace", "namespaces": ["default"]}
    aws.associate_access_policy(clusterName=NAME, principalArn=arn(user), policyArn=policy, accessScope=scope)
    until(lambda: user.ask(PODS)[0] == 200, what="the policy", seconds=20)
    assert user.ask(f"/api/v1{SPACE}/services/x:http/proxy/")[0] == 403
    assert user.ask("/api/v1/namespaces/kube-system/pods")[0] == 403
    aws.disassociate_access_policy(clusterName=NAME, principalArn=arn(user), policyArn=policy)
    until(lambda: user.ask(PODS)[0] == 403, what="its end", seconds=20)


def test_stack_holds_an_access_entry_and_an_association(cluster: Cluster, user: Cluster) -> None:
    """A stack creates both, changes the entry's groups in place, and removes both."""
    stacks, aws = client(cluster.running, "cloudformation"), client(cluster.running, "eks")
    trust = {"Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": "sts:AssumeRole"}

    def template(group: str) -> str:
        resources = {
            "Role": {
                "Type": "AWS::IAM::Role",
                "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]}},
            },
            "Entry": {
                "Type": "AWS::EKS::AccessEntry",
                "Properties": {"ClusterName": NAME, "PrincipalArn": arn(user), "KubernetesGroups": [group]},
            },
            "Association": {
                "Type": "AWS::EKS::PodIdentityAssociation",
                "Properties": {
                    "ClusterName": NAME,
                    "Namespace": "default",
                    "ServiceAccount": "stacked",
                    "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
                },
            },
        }
        outputs = {"Entry": {"Value": {"Fn::GetAtt": ["Entry", "AccessEntryArn"]}}}
        return json.dumps({"Resources": resources, "Outputs": outputs})

    def groups() -> list[str]:
        entry = aws.describe_access_entry(clusterName=NAME, principalArn=arn(user))["accessEntry"]
        return list(entry["kubernetesGroups"])

    options = {"StackName": "access", "Capabilities": ["CAPABILITY_IAM"]}
    stacks.create_stack(TemplateBody=template("first"), **options)
    stacks.get_waiter("stack_create_complete").wait(StackName="access", WaiterConfig={"Delay": 1})
    (output,) = stacks.describe_stacks(StackName="access")["Stacks"][0]["Outputs"]
    assert f":access-entry/{NAME}/" in output["OutputValue"]
    assert groups() == ["first"]
    wanted = {"clusterName": NAME, "namespace": "default", "serviceAccount": "stacked"}
    assert len(aws.list_pod_identity_associations(**wanted)["associations"]) == 1
    stacks.update_stack(TemplateBody=template("second"), **options)
    stacks.get_waiter("stack_update_complete").wait(StackName="access", WaiterConfig={"Delay": 1})
    assert groups() == ["second"]
    stacks.delete_stack(StackName="access")
    stacks.get_waiter("stack_delete_complete").wait(StackName="access", WaiterConfig={"Delay": 1})
    assert arn(user) not in aws.list_access_entries(clusterName=NAME)["accessEntries"]
    assert aws.list_pod_identity_associations(**wanted)["associations"] == []


def test_eks_itself_wants_rights(cluster: Cluster, user: Cluster) -> None:
    """Describing a cluster and making an access entry need IAM's permission; an access entry gives none."""
    aws = client(cluster.running, "eks", user.key, user.secret)
    assert code_of(lambda: aws.describe_cluster(name=NAME)) == "AccessDeniedException"
    policy = {
        "Effect": "Allow",
        "Action": "eks:DescribeCluster",
        "Resource": f"arn:aws:eks:eu-west-1:123456789012:cluster/{NAME}",
    }
    client(cluster.running, "iam").put_user_policy(
        UserName=arn(user).rpartition("/")[2],
        PolicyName="p",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [policy]}),
    )
    assert aws.describe_cluster(name=NAME)["cluster"]["name"] == NAME
    assert code_of(lambda: aws.create_access_entry(clusterName=NAME, principalArn=arn(user))) == "AccessDeniedException"


def test_cluster_of_a_kubeconfig(cluster: Cluster, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In front of a cluster that was there, tokens are checked the same: 200 for its creator, 401, 403."""
    there = json.loads((cluster.home() / "cluster.json").read_text())
    named = {
        "name": "there",
        "cluster": {"server": there["endpoint"], "certificate-authority-data": there["authority"]},
    }
    document = {
        "kind": "Config",
        "current-context": "here",
        "clusters": [named],
        "users": [{"name": "admin", "user": {"token": there["token"]}}],
        "contexts": [{"name": "here", "context": {"cluster": "there", "user": "admin"}}],
    }
    alone.joinpath("kubeconfig").write_text(json.dumps(document))
    monkeypatch.setenv("PIPELINE_CLUSTER", str(alone / "kubeconfig"))
    mine = Cluster(emulator.up(alone))
    mine.create()
    assert mine.describe()["endpoint"] != there["endpoint"]
    assert mine.ask("/api/v1/nodes")[1]["items"][0]["metadata"]["name"] == "embedded-node"
    assert mine.ask(PODS, token=there["token"])[0] == 401  # the kubeconfig's user is not one of EKS
    iam = client(mine.running, "iam")
    iam.create_user(UserName="other")
    key = iam.create_access_key(UserName="other")["AccessKey"]
    other = Cluster(mine.running, key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    assert other.ask(PODS)[0] == 401
    client(mine.running, "eks").create_access_entry(
        clusterName=NAME, principalArn=arn(other), kubernetesGroups=["none"]
    )
    assert other.ask(PODS)[0] == 403


def test_kubeconfig_that_cannot_be_used(tmp_path: Path) -> None:
    """One whose user signs in by a program is refused, as is one that lacks its context."""
    entries = [
        {
            "name": "a",
            "cluster": {"server": "https://127.0.0.1:1"},
            "user": {"exec": {}},
            "context": {"cluster": "a", "user": "a"},
        }
    ]
    document = {"kind": "Config", "current-context": "a", "clusters": entries, "users": entries, "contexts": entries}
    for wrong in (document, {**document, "current-context": "b"}):
        (tmp_path / "config").write_text(json.dumps(wrong))
        with pytest.raises(existing.Unusable):
            existing.read(tmp_path / "config", tmp_path)

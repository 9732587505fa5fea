"""Whether a function's own policy lets a service of AWS invoke it, on behalf of one of its resources.

https://docs.aws.amazon.com/lambda/latest/dg/access-control-resource-based.html
"""

from __future__ import annotations


def granted(function: str, service: str, source: str) -> bool:
    """Whether ``service`` may invoke the function with this ARN for the resource ``source``; True if it does not exist."""
    from ministack.core import iam_evaluator as iam
    from ministack.services import lambda_svc

    region, account, _, name = function.split(":")[3:7]
    if not (known := lambda_svc._functions.get_scoped(account, region, name)):
        return True
    statements = [one for one in known["policy"]["Statement"] if one.get("Principal") == {"Service": service}]
    context = iam.EvalContext(
        principal_arn=service,
        principal_type="AWSService",
        principal_account=account,
        action="lambda:InvokeFunction",
        resource_arn=function,
        region=region,
        service_context={"aws:sourcearn": source},
    )
    return bool(iam.evaluate(context, [iam.parse_policy_document({"Statement": statements})]).decision == "Allow")

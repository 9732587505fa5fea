"""What the targets on AWS Lambda have in common: a release is a published version, the alias ``live`` names what serves.

target           the base class of both targets
infrastructure   the part of the stacks that foundation.yaml and delivery.yaml define
observing        panels, alarms and log queries
deployer         stages, calls, measures and removes versions of one environment's function
front            the address: a Function URL, an HTTP API or a load balancer
http_api         the HTTP API, and its domain
load_balancer    the load balancer, its network and its domain
function         updates the function to what a release defines
alias            how traffic is split between versions
http             HTTP requests and responses as Lambda events
version_metrics  Lambda's metrics of one version
costs            list prices
settings         the keys of ``[function]``
probe            calls a handler on this machine, for ``invoke doctor --contract``
serve            serves a handler on this machine, for ``invoke serve``
"""

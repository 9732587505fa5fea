"""A gateway on loopback, which carries out routes of the Gateway API: this part is ours, where AWS has a load balancer.

controller    watches gateways and routes, opens a port for each gateway, reports in their status what is in effect
proxy         passes requests on
routing       decides by the routes which endpoint a request goes to
definitions   the Gateway API's resources, for a cluster that has none
"""

"""How a service is observed: one definition of panels and alarms, shown in CloudWatch, Grafana and HTML.

Read ``definition.py`` first.

drift           configuration drift: what was changed in CloudWatch and Grafana
api             Grafana's HTTP API
page, glance    the report, and ``status --watch``
files           all of it as files
grafana         what Grafana takes
stack           the monitoring stack
plot            a plot as SVG, a number as people read it
data            the numbers themselves, read from CloudWatch
template        the stack's template: alarms, dashboard, Grafana's role
definition      all panels and alarms of an environment
metrics         those that the service declares, in ``infra/metrics.toml``
"""

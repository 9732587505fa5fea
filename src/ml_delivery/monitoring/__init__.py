"""How a service is seen from the outside: one definition of panels and alarms, shown in CloudWatch, Grafana and HTML.

Read ``definition.py`` first.

drift           what others changed in CloudWatch and Grafana
api             Grafana's HTTP API
page, glance    the report, and ``status --watch``
files           what is rendered into the repository
grafana         what Grafana takes
plot            a plot as SVG, a number as people read it
data            the numbers themselves, read from CloudWatch
template        ``infra/monitoring.yaml``
alarms, definition    alarms and panels
queries         what is asked of CloudWatch, and where
"""

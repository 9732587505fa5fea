"""Monitoring: one definition of panels and alarms, shown in CloudWatch, Grafana and HTML.

Read ``definition.py`` first.

drift           configuration drift: changes in CloudWatch and Grafana
api             Grafana's HTTP API
page, glance    the report, and ``status --watch``
files           the templates and Grafana's provisioning as files
grafana         dashboard, alert rules, data source and contact point for Grafana
stack           the monitoring stack
data            the panels' data, read from CloudWatch
template        the stack's template: alarms, dashboard, Grafana's role
definition      all panels and alarms of an environment
declared        the panels and alarms that the service declares, in ``infra/metrics.toml``
"""

"""How a service is seen from the outside: one definition of panels and alarms, shown in CloudWatch, Grafana and HTML.

Read ``definition.py`` first. ``template.py`` makes ``infra/monitoring.yaml`` of it, ``grafana.py`` what Grafana takes,
``page.py`` the report; ``data.py`` reads the numbers themselves.
"""

"""Dashboards as code: builders here, the JSON that Grafana is given in dashboards/. See grafana.build."""

"""Dashboards as code: builders here, the JSON that Grafana reads in dashboards/. See grafana.build."""

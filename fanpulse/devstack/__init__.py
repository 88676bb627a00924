"""The local stack: an embedded Kafka broker, the services, Prometheus and Grafana, under one supervisor."""

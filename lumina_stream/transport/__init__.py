"""From the queue to a relay: the exporter's thread and the connection. Imported on first use."""

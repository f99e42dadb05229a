"""How routing behaves with many replicas: a discrete-event model, checked against real engines."""

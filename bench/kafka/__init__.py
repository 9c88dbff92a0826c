"""Hypercare beside other ways to read the same topics, on a real Apache Kafka."""

"""The demonstration: Kafka, a worker and a shop whose new release is bad."""

"""The only folder that imports rclpy: each node takes messages, calls the core, publishes."""

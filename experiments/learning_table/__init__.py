"""Every action head with one horizon and with a mixture of horizons: success, smoothness and speed."""

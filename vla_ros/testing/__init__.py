"""Test tools that tests, benches and the fault suite share. The product never imports this package."""

"""The OpenAPI document: what the framework makes of the routes, the problem schemas, and examples."""

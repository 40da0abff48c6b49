"""The OpenAPI document: the framework's, completed with the problem schemas and examples."""

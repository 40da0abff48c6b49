"""The connection, the tables, the migrations and the embedded PostgreSQL."""
